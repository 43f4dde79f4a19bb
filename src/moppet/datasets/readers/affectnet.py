"""AffectNet in its three published layouts."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from moppet.datasets.manifest import BOX, Manifest
from moppet.datasets.readers.csv_tables import number, read_rows
from moppet.datasets.readers.dataset import (
    Columns,
    Dataset,
    as_columns,
    choose,
    known_dataset,
    read_text,
)
from moppet.datasets.readers.folder_tree import (
    first_few,
    first_files,
    name_contains,
    subfolders,
    walk_files,
)
from moppet.vocabulary import decode, split_of

_CODES: Final = (
    *("neutral", "happiness", "sadness", "surprise"),
    *("fear", "disgust", "anger", "contempt"),
)
_NONE: Final = (8, 9, 10)  # none, uncertain, no face
_LISTS: Final = {"training.csv": "train", "validation.csv": "test"}
_LIST_FOLDERS: Final = ("", "Manually_Annotated_file_lists")
_IMAGES: Final = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
_BOX: Final = ("face_x", "face_y", "face_width", "face_height")
_MOOD: Final = ("valence", "arousal")
_HEADER: Final = ("subDirectory_filePath", *_BOX, "facial_landmarks", "expression", *_MOOD)
_COLUMNS: Final = ("path", "label", "split")


def _lists(path: Path) -> list[Path]:
    places = [path / folder / name for name in _LISTS for folder in _LIST_FOLDERS]
    return [place for place in places if place.is_file()]


def _annotated(path: Path) -> list[Path]:
    folders = [path / name for name in ("train_set", "val_set")]
    return [folder for folder in folders if (folder / "annotations").is_dir()]


def _numbered(path: Path) -> list[Path]:
    """Return the split folders with subfolders named 0, 1, … 7."""
    return [
        folder
        for folder in subfolders(path)
        if split_of(folder.name)
        and (inner := [x.name for x in subfolders(folder)])
        and all(name in set("01234567") for name in inner)
    ]


def _looks_like(path: Path) -> bool:
    listed = _lists(path) and any((path / name).is_dir() for name in _IMAGES)
    numbered = name_contains(path, "affectnet") and _numbered(path)
    return bool(_annotated(path) or listed or numbered)


def _read(
    dataset: Dataset,
    root: Path,
    *,
    only_expressions: bool = False,
    keep_unlabeled: bool = False,
    allow_missing: bool = False,
) -> Manifest:
    if _annotated(root):
        columns, place = as_columns(_COLUMNS, _from_arrays(dataset, root)), root
    elif _lists(root):
        columns, place = _from_lists(dataset, root, allow_missing)
    elif _numbered(root):
        columns, place = as_columns(_COLUMNS, _from_numbers(dataset, root)), root
    else:
        raise dataset.expected("train_set/annotations, training.csv or train/0 to train/7", root)
    if not keep_unlabeled:
        columns = choose(columns, [label is not None for label in columns["label"]])
    return dataset.build(place, columns, only_expressions=only_expressions)


def _from_arrays(dataset: Dataset, root: Path) -> Iterator[tuple[str, str | None, str]]:
    """Yield the path, the class and the split of each image."""
    for folder in _annotated(root):
        images = dataset.folder(folder, "images")
        found = list(walk_files(images))
        if not found:
            raise dataset.expected("images", images)
        for name in found:
            note = folder / "annotations" / f"{Path(name).stem}_exp.npy"
            label = _named(dataset, _code(dataset, note), note)
            split = "train" if folder.name == "train_set" else "test"
            yield f"{folder.name}/images/{name}", label, split


def _code(dataset: Dataset, note: Path) -> str:
    try:
        return str(np.load(note, allow_pickle=False).item())
    except FileNotFoundError:
        raise dataset.expected(f"{note.name} (one for each image)", note.parent) from None
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile):
        raise dataset.odd("is not an array of one number", note) from None


def _named(dataset: Dataset, code: str, where: Path | str) -> str | None:
    try:
        return None if float(code) in _NONE else decode(code, _CODES)
    except ValueError:
        raise dataset.odd(f"needs an expression from 0 to 10, not {code!r}", where) from None


def _from_lists(dataset: Dataset, root: Path, allow_missing: bool) -> tuple[Columns, Path]:
    images = dataset.folder(root, *_IMAGES)
    columns: Columns = {}
    for table in _lists(root):
        rows = [row for row in read_rows(table, read_text(table)) if row]
        if rows and rows[0][0].strip() == _HEADER[0]:  # the published validation.csv has none
            rows = rows[1:]
        found = _listed(dataset, rows, table)
        there = dataset.present(images, found["path"], table, allow_missing)
        for name, values in choose(found, there).items():
            columns.setdefault(name, []).extend(values)
    return columns, images


def _listed(dataset: Dataset, rows: list[list[str]], table: Path) -> Columns:
    found = []
    for at, row in enumerate(rows):
        if len(row) != len(_HEADER):
            raise dataset.odd(
                f"needs the {len(_HEADER)} columns {', '.join(_HEADER)}; a row has {len(row)}",
                table,
            )
        cells = dict(zip(_HEADER, row, strict=True))
        path = cells[_HEADER[0]].strip().replace("\\", "/")
        label = _named(dataset, cells["expression"], table)
        box = [_cell(cells, name, table, at) for name in _BOX]
        known = None not in box and min(x or 0 for x in box[2:]) > 0
        moods = (_cell(cells, name, table, at) for name in _MOOD)
        mood = [None if value is None or value < -1 else value for value in moods]
        found.append((path, label, _LISTS[table.name], *(box if known else [None] * 4), *mood))
    return as_columns((*_COLUMNS, *BOX, *_MOOD), found)


def _cell(cells: dict[str, str], name: str, table: Path, row: int) -> float | None:
    text = cells[name].strip()
    return None if text.upper() == "NULL" else number(text, table, row, name)


def _from_numbers(dataset: Dataset, root: Path) -> Iterator[tuple[str, str, str | None]]:
    folders = _numbered(root)
    beside = [f.name for f in subfolders(root) if f not in folders and first_files(f, 1)]
    if beside:
        raise dataset.odd(
            f"has the folders {first_few(beside)}, which are not splits with the folders 0 to 7: "
            "move them away",
            root,
        )
    splits = {folder.name: split_of(folder.name) for folder in folders}
    if "test" not in splits.values():  # papers report results on the validation rows
        splits = {name: "test" if s == "val" else s for name, s in splits.items()}
    for folder in folders:
        for inner in subfolders(folder):
            label = decode(inner.name, _CODES)
            for name in walk_files(inner):
                yield f"{folder.name}/{inner.name}/{name}", label, splits[folder.name]


AFFECTNET = known_dataset("affectnet", _looks_like, _read)
