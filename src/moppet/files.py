"""Files: written whole or not at all, hashed, read as plain arrays; texts printed only once."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import itertools
import json
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.values import MoppetError

try:
    import fcntl
except ImportError:  # Windows: what a killed run left there is not removed
    fcntl = None  # type: ignore[assignment]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_LOCKED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NUMBERS: Final = itertools.count()
_PART: Final = re.compile(r"\..+\.([1-9][0-9]{0,8})-[0-9]+\.part(\.[^.]*)?", re.DOTALL)
"""Name of an unfinished file, with the number of the process that writes it."""
_writing: Final[set[str]] = set()
_cleaned: Final[set[str]] = set()
"""The unfinished files of this process, and the folders where it looked for those of others."""


@contextmanager
def replacing(
    path: Path,
    error: type[MoppetError] = MoppetError,
    failures: Sequence[type[Exception]] = (),
) -> Iterator[Path]:
    """Give a path to write to; the file that is there is replaced once the new one is whole.

    The path lies in the same folder, which is made, and ends in the same suffix. A new file has
    the mode that the user's umask gives, a replaced one keeps its own. A pipe or a device is
    written to directly.
    failures: what the writer raises, besides OSError, where it cannot write.
    Raises `error`, in one sentence, where that fails; then the old file is as it was.
    """
    caught: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        target = path.resolve() if path.is_symlink() else path
        if target.exists() and not target.is_file():
            yield target
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        with _part_of(target) as part:
            mode = stat.S_IMODE((target if target.exists() else part).stat().st_mode)
            yield part
            part.chmod(mode)  # some libraries let nobody else read what they write
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
    except caught as reason:
        raise error(f"Cannot write {path}: {_reason(reason, path)}") from None


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """Give a new file beside a target, which no other run removes; at the end it is removed."""
    file, part = None, target
    while file is None:
        part = target.with_name(
            f".{target.stem}.{os.getpid()}-{next(_NUMBERS)}.part{target.suffix}"
        )
        with suppress(FileExistsError):
            file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if file is not None and fcntl is not None:
            with suppress(OSError):  # a drive that cannot lock
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file).st_nlink:  # another run removed it before it was locked
                os.close(file)
                file = None
    _writing.add(part.name)
    if fcntl is None:
        os.close(file)  # Windows renames no open file
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(file)
        _writing.discard(part.name)


def _remove_stale(folder: Path) -> None:
    """Remove the unfinished files that killed runs left in a folder; once in each process.

    A file stays while any living process holds it, or may hold it.
    """
    place = os.path.abspath(folder)
    if fcntl is None or place in _cleaned:
        return
    _cleaned.add(place)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.fullmatch(entry.name)
            if not found or entry.name in _writing or _runs(int(found[1])):
                continue
            with suppress(OSError):
                file = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)
                finally:
                    os.close(file)


def _runs(process: int) -> bool:
    """Return whether another process of this number is running."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return process != os.getpid()


def _reason(reason: Exception, path: Path) -> str:
    code = getattr(reason, "errno", None)
    if code in _FULL or os.strerror(errno.ENOSPC) in str(reason):
        return "the disk is full: make room and run the command again."
    text = getattr(reason, "strerror", None) or " ".join(str(reason).split()).rstrip(".")
    if code in _LOCKED:
        return f"{text}. Choose another folder, or change the rights of {path.parent}."
    return f"{text or type(reason).__name__}."


def write_bytes(path: Path, data: bytes, error: type[MoppetError] = MoppetError) -> Path:
    """Write a file, whole or not at all, and return its path; see `replacing`."""
    with replacing(path, error) as part:
        part.write_bytes(data)
    return path


def write_text(path: Path, text: str, error: type[MoppetError] = MoppetError) -> Path:
    """Write a text in UTF-8, whole or not at all, and return its path; see `replacing`."""
    return write_bytes(path, text.encode("utf-8"), error)


_MOST_JSON: Final = 500_000_000  # bytes; a timeline of some hours in JSON takes 200 MB
_LONE: Final = re.compile("[\\ud800-\\udfff]")


def parse_json(data: bytes, where: str, error: type[MoppetError] = MoppetError) -> Any:
    """Return the values in a JSON text; raise `error`, in one sentence, where it is none.

    NaN, infinities, numbers of thousands of digits, half characters (lone surrogates) and keys
    that stand twice are no JSON here, and neither is a text that nests some hundred levels.
    where: the file, in words.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a number in JSON")

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"it has the key {key[:60]!r} twice")
        return made

    try:
        text = data.decode("utf-8-sig")
        values = json.loads(text, parse_constant=refuse, object_pairs_hook=table)
        if "\\u" in text and _LONE.search(json.dumps(values, ensure_ascii=False)):
            raise ValueError("it contains half of a character")
    except RecursionError:
        raise error(f"{where} is damaged: its values nest too deep.") from None
    except ValueError as reason:
        raise error(f"{where} is damaged, or is not JSON: {one_line(reason)}.") from None
    return values


def read_json(path: Path, what: str, error: type[MoppetError] = MoppetError) -> Any:
    """Return the values in a JSON file; raise `error`, in one sentence, where that fails.

    what: the file in words, such as "file of people".
    """
    return parse_json(read_bytes(path, what, error), f"the {what} {path}", error)


def read_bytes(
    path: Path, what: str, error: type[MoppetError] = MoppetError, most: int = _MOST_JSON
) -> bytes:
    """Return a file's content; raise `error` where it is no file, too large or not readable.

    most: bytes. Pipes, devices and sockets are never opened: they may have no end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise error(f"the {what} {path} cannot be read: it is not a file.")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as reason:  # ValueError: a name that no file can have
        text = getattr(reason, "strerror", None) or "its name is not valid"
        raise error(f"the {what} {one_line(path)} cannot be read: {text}.") from None
    if len(content) > most:
        raise error(f"the {what} {path} is larger than {most:,} bytes.")
    return content


@contextmanager
def as_damaged(
    message: str,
    error: type[MoppetError] = MoppetError,
    failures: Sequence[type[Exception]] = (),
) -> Iterator[None]:
    """Raise `error` with this message where stored values are not of the form that they need.

    For code that only takes values out of a file of ours that was read by `read_json`.
    failures: what that code raises besides.
    """
    odd = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
    caught: tuple[type[Exception], ...] = (*odd, *failures)
    try:
        yield
    except caught as reason:
        raise error(message) from reason


def one_line(reason: object, most: int = 300) -> str:
    """Return a reason as printable text of one line, without a final period."""
    text = "".join(c if c.isprintable() else " " for c in " ".join(str(reason).split()))
    return (text if len(text) <= most else f"{text[:most]}…").rstrip(".")


def render_text(package: str, template: str, **values: Any) -> str:
    """Return the text that a template in a package's folder templates/ makes of the values."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(values)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], end: str = "\n") -> str:
    """Return a table as CSV; None is an empty cell. end: of each line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a table as CSV in UTF-8, whole or not at all, and return its path."""
    return write_text(path, csv_text(header, rows))


def print_once(text: str, key: str) -> bool:
    """Print a text on stderr unless this key was printed before; return whether it was printed.

    Hashes of the keys are stored in the user's cache folder; if that is not writable, the text is
    printed each time.
    """
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "licenses"
    marker = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    with suppress(OSError):
        if marker.exists():
            return False
    print(text, file=sys.stderr)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{text}\n", encoding="utf-8")
    return True


def file_sha256(path: Path, error: type[MoppetError] = MoppetError) -> str:
    """Return the SHA-256 of a file in hexadecimal; raise `error` where it cannot be read."""
    try:
        if not path.is_file() and path.exists():
            raise error(f"{path} cannot be read: it is not a file.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror}): check its name.") from None


def read_arrays(
    path: Path, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return the arrays of these names in an .npz file; optional: names that it may lack.

    Raises MoppetError if the file is missing, damaged or no .npz, lacks a name, or holds pickled
    objects in place of numbers and text: those are never loaded.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is not a file")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            lacking = [name for name in names if name not in archive.files]
            if not lacking:
                wanted = [*names, *(name for name in optional if name in archive.files)]
                return {name: archive[name] for name in wanted}
    except Exception as error:  # numpy, zipfile and zlib each have their own for a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else None
        raise MoppetError(
            f"{path} cannot be read: {reason or 'it is not a complete .npz file of plain arrays'}."
        ) from None
    raise MoppetError(f"{path} lacks the arrays {', '.join(lacking)}.")


@contextmanager
def result_folder(folder: Path) -> Iterator[None]:
    """Make the folder before the work; take it away again if that fails."""
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be made: {error.strerror}.") from None
    try:
        yield
    except BaseException:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()
        raise


@contextmanager
def file_lock(lock: Path) -> Iterator[bool]:
    """Keep a lock file to this run; give False where another living run keeps it.

    It is removed at the end. One that a killed run left is taken over. Gives True where files
    cannot be locked: on Windows and on some network drives.
    """
    if fcntl is None:
        yield True
        return
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise MoppetError(f"{lock} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            yield False
            return
        except OSError:  # a drive that cannot lock
            pass
        if os.fstat(file).st_nlink:
            break
        os.close(file)  # its run removed it just now
    try:
        yield True
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(file)
