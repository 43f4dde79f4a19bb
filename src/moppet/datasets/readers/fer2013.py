"""FER2013's images, and FER+'s ten votes for each of them."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import platformdirs
from numpy.typing import NDArray

from moppet.datasets.manifest import Manifest, connect, plurality
from moppet.datasets.readers.csv_tables import number, read_table
from moppet.datasets.readers.dataset import Columns, Dataset, choose, known_dataset
from moppet.datasets.readers.folder_tree import subfolders
from moppet.files import file_sha256, read_arrays, replacing
from moppet.values import EXPRESSIONS, Image, MoppetError
from moppet.vocabulary import class_of, decode, split_of

NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
_CODES: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class Unpacked(NamedTuple):
    """FER2013's rows: the .npz with the images, the labels (expressions) and the usages."""

    path: Path
    labels: list[str]
    usages: list[str]


def unpack(dataset: Dataset, table: Path, images: Path | None) -> Unpacked:
    """Return the rows of a FER2013 CSV, its images unpacked into an .npz.

    images: the .npz to write; None uses one in the user's cache folder, named by the CSV's
        SHA-256 and reused the next time.
    Raises MoppetError for a CSV that is not FER2013's, and if the .npz cannot be written.
    """
    sha256 = file_sha256(table)
    kept = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "datasets"
    target = kept / f"fer2013-{sha256[:16]}.npz" if images is None else Path(images)
    if target.suffix.lower() != ".npz":
        raise MoppetError(f"FER2013's images are written as .npz, but {target.name!r} is not.")
    arrays = _read_kept(target, sha256)
    if arrays is None:
        arrays = _read_csv(dataset, table) | {"sha256": np.array(sha256)}
        _write(target, arrays, table)
    return Unpacked(target, arrays["label"].tolist(), arrays["usage"].tolist())


def _read_kept(target: Path, sha256: str) -> dict[str, NDArray[Any]] | None:
    try:
        kept = read_arrays(target, ("sha256", "label", "usage", "images"))
    except MoppetError:
        return None  # a missing or damaged file is rebuilt
    return kept if str(kept["sha256"]) == sha256 else None


def _read_csv(dataset: Dataset, table: Path) -> dict[str, NDArray[Any]]:
    labels: list[str] = []
    usages: list[str] = []
    images: list[Image] = []
    for line, row in enumerate(_table_rows(dataset, table), 2):
        try:
            labels.append(decode(row["emotion"], _CODES))
            pixels = np.array(row["pixels"].split(), np.uint8)
            images.append(pixels.reshape(-1, round(pixels.size**0.5)))
        except (ValueError, OverflowError, TypeError, AttributeError):
            raise dataset.odd(
                f"needs an emotion from 0 to 6 and a square of pixels from 0 to 255 in row {line}",
                table,
            ) from None
        usages.append((row.get("Usage") or "").strip())
    shapes = {image.shape for image in images}
    if len(shapes) != 1 or len(set(*shapes)) != 1:
        raise dataset.odd("needs square images of one size", table)
    return {
        "images": np.stack(images),
        "label": np.array(labels),
        "usage": np.array(usages),
    }


def _table_rows(dataset: Dataset, table: Path) -> Iterator[dict[str, str]]:
    """Yield a CSV's rows one by one to limit memory use."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
            if not {"emotion", "pixels"} <= set(rows.fieldnames):
                raise dataset.odd("needs the columns emotion, pixels and Usage", table)
            yield from rows
    except UnicodeDecodeError:
        raise dataset.odd("is not UTF-8 text", table) from None
    except csv.Error as error:
        raise dataset.odd(f"cannot be read as a table: {error}", table) from None


def _write(target: Path, arrays: dict[str, NDArray[Any]], table: Path) -> None:
    size = arrays["images"].nbytes / 1e6
    try:
        with replacing(target) as part:
            np.savez(part, **arrays)  # type: ignore[arg-type]
    except MoppetError as error:
        raise MoppetError(
            f"{error} The images of {table} are unpacked once into that file ({size:.0f} MB): "
            "choose another .npz with images=."
        ) from None


def find_table(path: Path) -> Path | None:
    """Return the CSV with FER2013's pixels at a path (file or folder); None if there is none."""
    places = [path / name for name in NAMES] if path.is_dir() else [path]
    for place in places:
        if place.suffix.lower() == ".csv" and place.is_file():
            with place.open(encoding="utf-8-sig", errors="replace") as file:
                names = {name.strip() for name in file.readline(200).split(",")}
            if {"emotion", "pixels"} <= names:
                return place
    return None


def _looks_like(path: Path) -> bool:
    with_votes = path.is_dir() and (path / "fer2013new.csv").exists()
    return not with_votes and find_table(path) is not None


def _read(dataset: Dataset, root: Path, *, images: Path | None = None) -> Manifest:
    table = dataset.file(root, *NAMES) if root.is_dir() else root
    rows = unpack(dataset, table, images)
    n = len(rows.labels)
    columns: Columns = {
        "path": [rows.path.name] * n,
        "array_row": list(range(n)),
        "label": rows.labels,
        "split": [split_of(usage) for usage in rows.usages],
    }
    return dataset.build(rows.path.parent, columns)


FER2013 = known_dataset("fer2013", _looks_like, _read)


_VOTES: Final = "fer2013new.csv"
_FOLDERS: Final = {
    "Training": "FER2013Train",
    "PublicTest": "FER2013Valid",
    "PrivateTest": "FER2013Test",
}
_ABOVE: Final = ("", "images", "data", "Images")
_NOT_CLASSES: Final = ("unknown", "nf")
_RATERS: Final = 10


def _vote_columns(
    dataset: Dataset, table: Path, only_expressions: bool
) -> tuple[Columns, list[str]]:
    """Return name, usage, label, votes and weight of the rows with images, and the classes.

    `row` is the row's number in FER2013. Rows without an image name show no face.
    """
    header, rows = read_table(table, ["usage", "image name", *EXPRESSIONS])
    voted = [name for name in header if name in (*EXPRESSIONS, "contempt", *_NOT_CLASSES)]
    name_at, usage_at = header.index("image name"), header.index("usage")
    faces = [i for i, row in enumerate(rows) if row[name_at].strip()]
    cells = [
        [number(rows[i][header.index(name)], table, i, name) or 0 for name in voted] for i in faces
    ]
    votes = np.array(cells, np.float32).reshape(len(faces), len(voted))
    names = [name for name in voted if name in EXPRESSIONS]
    names += [] if only_expressions or "contempt" not in voted else ["contempt"]
    label_of = [*(name if name in names else None for name in voted), None]
    shares = votes[:, [voted.index(name) for name in names]]
    usages = [rows[i][usage_at].strip() for i in faces]
    odd = sorted(set(usages) - set(_FOLDERS))
    if odd:
        raise dataset.odd(f"has the usage {odd[0]!r}: it is one of {', '.join(_FOLDERS)}", table)
    columns: Columns = {
        "row": faces,
        "name": [rows[i][name_at].strip() for i in faces],
        "usage": usages,
        "label": [label_of[i] for i in plurality(votes).tolist()],
        "votes": list(shares),
        "weight": list(shares.sum(axis=1) / _RATERS),
    }
    return columns, names


def _looks_like_votes(path: Path) -> bool:
    has_folder = any((path / above / x).is_dir() for above in _ABOVE for x in _FOLDERS.values())
    return (path / _VOTES).is_file() and (has_folder or find_table(path) is not None)


def _read_votes(
    dataset: Dataset,
    root: Path,
    *,
    only_expressions: bool = True,
    images: Path | None = None,
    allow_missing: bool = False,
) -> Manifest:
    table = dataset.file(root, _VOTES)
    columns, names = _vote_columns(dataset, table, only_expressions)
    source = find_table(root)
    if source is not None:
        there, place = _join_csv(dataset, columns, table, source, images)
    else:
        there, place = _join_images(dataset, root, columns, table, allow_missing)
    columns["split"] = [split_of(usage) for usage in columns.pop("usage")]
    del columns["row"]
    kept = choose(columns, there)
    kept["votes"] = np.array(kept["votes"], np.float32).reshape(-1, len(names))  # type: ignore[assignment]
    return dataset.build(place, kept, names=names)


def _join_csv(
    dataset: Dataset,
    columns: Columns,
    table: Path,
    source: Path,
    images: Path | None,
) -> tuple[list[bool], Path]:
    fer = unpack(dataset, source, images)
    for row, usage in zip(columns["row"], columns["usage"], strict=True):
        if row >= len(fer.usages) or fer.usages[row] != usage:
            raise dataset.odd(
                f"and {source.name} do not match: row {row + 2} is {usage} in the first, "
                f"{fer.usages[row] if row < len(fer.usages) else 'missing'} in the second",
                table,
            )
    columns["path"] = [fer.path.name] * len(columns["row"])
    columns["array_row"] = list(columns["row"])
    columns["fer2013_label"] = [fer.labels[row] for row in columns["row"]]
    return [True] * len(columns["row"]), fer.path.parent


def _join_images(
    dataset: Dataset, root: Path, columns: Columns, table: Path, allow_missing: bool
) -> tuple[list[bool], Path]:
    found = [
        (root / above) if above else root
        for above in _ABOVE
        if any(folder.name in _FOLDERS.values() for folder in subfolders(root / above))
    ]
    if not found:
        wanted = f"{' or '.join(NAMES)}, or the folders {', '.join(_FOLDERS.values())},"
        raise dataset.expected(wanted, root)
    prefix = "" if found[0] == root else f"{found[0].name}/"
    columns["path"] = [
        f"{prefix}{_FOLDERS[usage]}/{name}"
        for usage, name in zip(columns["usage"], columns["name"], strict=True)
    ]
    return dataset.present(root, columns["path"], table, allow_missing), root


FERPLUS = known_dataset("ferplus", _looks_like_votes, _read_votes)

_KEYS: Final = ("images", "votes", "vote_names", "split", "dup_group", "age_band")
_ALL_KEYS: Final = (*_KEYS, "near_dup_group", "leaks_into_split1")
_BANDS: Final = {0: "infant", 1: "child", 2: "adult", 3: "uncertain", -1: None}
"""Value of `age_band` → age band; -1 is "not judged"."""


def archive_of(path: Path) -> Path | None:
    """Return the .npz at a path, or the only one in a folder; None if there is none."""
    if not path.is_dir():
        return path if path.suffix.lower() == ".npz" else None
    found = [file for file in path.glob("*.npz") if file.name[0] != "."]
    return found[0] if len(found) == 1 else None


def _looks_like_archive(path: Path) -> bool:
    place = archive_of(path)
    if place is None or not zipfile.is_zipfile(place):
        return False
    try:
        with zipfile.ZipFile(place) as archive:
            return {f"{name}.npy" for name in _KEYS} <= set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def _read_archive(
    dataset: Dataset, root: Path, *, keep_leaks: bool = False, seed: int = 0
) -> Manifest:
    """Split 1 becomes "test"; split 0 "train" and, for a tenth of each age band, "val".

    keep_leaks: keep the rows of split 0 with a duplicate in split 1, as "train".
    """
    place = archive_of(root)
    if place is None:
        raise dataset.expected("one .npz", root)
    z = _read_arrays(place)
    names = z["vote_names"].tolist()
    votes = z["votes"][:, [names.index(name) for name in EXPRESSIONS]]
    near = [g if g >= 0 else None for g in z["near_dup_group"].tolist()]
    group = connect(len(near), [z["dup_group"].tolist(), near])
    part = np.where(z["split"] == 1, "test", np.where(z["leaks_into_split1"], "", "train"))
    part = _draw_val(part, group, z["age_band"], np.random.default_rng(seed))
    rows = np.flatnonzero(keep_leaks | (part != ""))
    label_of = [*(name if name in EXPRESSIONS else None for name in names), None]
    columns: dict[str, Any] = {
        "path": [place.name] * len(rows),
        "array_row": rows,
        "label": [label_of[i] for i in plurality(z["votes"][rows]).tolist()],
        "votes": votes[rows],
        "weight": votes[rows].sum(axis=1) / _RATERS,
        "age_band": [_BANDS[band] for band in z["age_band"][rows].tolist()],
        "split": [name or "train" for name in part[rows].tolist()],
        "duplicate_group": group[rows],
        **_more(place, rows),
    }
    return dataset.build(place.parent, columns, names=EXPRESSIONS)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    z = read_arrays(path, _ALL_KEYS)
    names, n = z["vote_names"].ravel().tolist(), len(np.atleast_1d(z["split"]))
    unnamed = [name for name in EXPRESSIONS if name not in names]
    if unnamed:
        raise MoppetError(f"{path} is not FER+: it has no votes for {', '.join(unnamed)}.")
    shapes = {key: (n,) for key in _ALL_KEYS} | {
        "images": (n, *z["images"].shape[1:3]),
        "vote_names": (len(names),),
        "votes": (n, len(names)),
    }
    for key, shape in shapes.items():
        kinds = "U" if key == "vote_names" else "uib"
        if z[key].shape != shape or z[key].dtype.kind not in kinds or not n:
            raise MoppetError(
                f"{path} is not FER+: {key} should be {shape} of "
                f"{'words' if kinds == 'U' else 'whole numbers'}, but is {z[key].shape} "
                f"{z[key].dtype}."
            )
    strange = set(z["age_band"].tolist()) - set(_BANDS)
    if strange:
        raise MoppetError(
            f"{path} is not FER+: age_band {min(strange)} is none of {', '.join(map(str, _BANDS))}."
        )
    return z


def _draw_val(
    part: NDArray[np.str_],
    group: NDArray[np.int64],
    age_band: NDArray[np.int8],
    rng: np.random.Generator,
) -> NDArray[np.str_]:
    part = part.astype("<U6")
    train = part == "train"
    # A group counts for the age band of its first row.
    first_of = dict(zip(group[train][::-1], age_band[train][::-1], strict=True))
    for band in sorted(_BANDS):
        members = np.array(sorted(g for g, b in first_of.items() if b == band))
        if len(members):
            drawn = rng.choice(members, round(len(members) / 10), replace=False)
            part[train & np.isin(group, drawn)] = "val"
    return part


def _more(place: Path, rows: NDArray[np.intp]) -> dict[str, list[Any]]:
    """Return the optional columns of the file."""
    found = read_arrays(place, (), ("name", "leaks_into_split1", "fer2013_label", "label_names"))
    words = [class_of(str(name)) for name in found.pop("label_names", np.empty(0)).ravel()]
    try:
        if "fer2013_label" in found:
            found["fer2013_label"] = np.array(words)[found["fer2013_label"]]
        return {key: values[rows].tolist() for key, values in found.items()}
    except IndexError:
        raise MoppetError(
            f"{place} is not FER+: {', '.join(found)} do not fit its rows or label_names."
        ) from None


FERPLUS_NPZ = known_dataset("ferplus-npz", _looks_like_archive, _read_archive)
