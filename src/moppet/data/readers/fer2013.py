"""FER2013's CSV: its pictures are text, so they are unpacked once into an .npz."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import platformdirs
from numpy.typing import NDArray

from moppet.data.arrays import read_arrays
from moppet.data.manifest import Manifest
from moppet.data.readers.dataset import Columns, Dataset
from moppet.data.readers.words import decode, split_of
from moppet.media import file_sha256
from moppet.values import Image, MoppetError

NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
_CODES: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class Unpacked(NamedTuple):
    """FER2013's rows: the .npz with their pictures, their labels (expressions) and their usage."""

    path: Path
    labels: list[str]
    usages: list[str]


def unpack(dataset: Dataset, table: Path, images: str | os.PathLike[str] | None) -> Unpacked:
    """Return the rows of a FER2013 CSV, its pictures unpacked into an .npz.

    images: the .npz to write; None names one in the user's cache folder by the CSV's SHA-256,
        which is read again the next time.
    Raises MoppetError for a CSV that is not FER2013's, and if the .npz cannot be written.
    """
    sha256 = file_sha256(table)
    kept = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "datasets"
    target = kept / f"fer2013-{sha256[:16]}.npz" if images is None else Path(images)
    if target.suffix.lower() != ".npz":
        raise MoppetError(f"FER2013's pictures are written as .npz, but {target.name!r} is not.")
    arrays = _read_kept(target, sha256)
    if arrays is None:
        arrays = _read_csv(dataset, table) | {"sha256": np.array(sha256)}
        _write(target, arrays, table)
    return Unpacked(target, arrays["label"].tolist(), arrays["usage"].tolist())


def _read_kept(target: Path, sha256: str) -> dict[str, NDArray[Any]] | None:
    try:
        kept = read_arrays(target, ("sha256", "label", "usage", "images"))
    except MoppetError:
        return None  # whatever is wrong with it, it is made anew
    return kept if str(kept["sha256"]) == sha256 else None


def _read_csv(dataset: Dataset, table: Path) -> dict[str, NDArray[Any]]:
    labels: list[str] = []
    usages: list[str] = []
    images: list[Image] = []
    for number, row in enumerate(_table_rows(dataset, table), 2):
        try:
            labels.append(decode(row["emotion"], _CODES))
            pixels = np.array(row["pixels"].split(), np.uint8)
            images.append(pixels.reshape(-1, round(pixels.size**0.5)))
        except (ValueError, OverflowError, TypeError, AttributeError):
            raise dataset.odd(
                f"needs an emotion from 0 to 6 and a square of pixels from 0 to 255 in row "
                f"{number}",
                table,
            ) from None
        usages.append((row.get("Usage") or "").strip())
    shapes = {image.shape for image in images}
    if len(shapes) != 1 or len(set(*shapes)) != 1:
        raise dataset.odd("needs square pictures of one size", table)
    return {
        "images": np.stack(images),
        "label": np.array(labels),
        "usage": np.array(usages),
    }


def _table_rows(dataset: Dataset, table: Path) -> Iterator[dict[str, str]]:
    """Yield a CSV's rows one by one: it is too large to hold twice."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
            if not {"emotion", "pixels"} <= set(rows.fieldnames):
                raise dataset.odd("needs the columns emotion, pixels and Usage", table)
            yield from rows
    except UnicodeDecodeError:
        raise dataset.odd("is no text in UTF-8", table) from None
    except csv.Error as error:
        raise dataset.odd(f"cannot be read as a table: {error}", table) from None


def _write(target: Path, arrays: dict[str, NDArray[Any]], table: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part.npz")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, **arrays)  # type: ignore[arg-type]
        os.replace(part, target)
    except OSError as error:
        size = arrays["images"].nbytes / 1e6
        raise MoppetError(
            f"the pictures of {table} are unpacked once into {target} ({size:.0f} MB), which "
            f"cannot be written ({error.strerror}): name another .npz with images=."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def find_table(path: Path) -> Path | None:
    """Return the CSV with FER2013's pixels at a path, a file or a folder; None without one."""
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


def _read(
    dataset: Dataset, root: Path, *, images: str | os.PathLike[str] | None = None
) -> Manifest:
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


FER2013 = Dataset(
    name="fer2013",
    title="FER2013",
    layout="""
        fer2013.csv, or a folder with fer2013.csv or icml_face_data.csv:
          emotion,pixels,Usage
          0,70 80 82 72 58 …,Training       48 × 48 numbers; 0 angry, 1 disgust, 2 fear, 3 happy,
                                            4 sad, 5 surprise, 6 neutral
    """,
    basis="Kaggle's competition files as torchvision's loader documents them. The column order and "
    "the codes are well known; the CSV itself was not at hand.",
    licence="FER2013's pictures come from web searches and carry no licence from an owner, nor "
    "anybody's consent: learn from them, and do not pass them on.",
    looks_like=_looks_like,
    reader=_read,
)
