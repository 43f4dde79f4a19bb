"""RAF-DB: the single-label part with seven basic expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import Dataset, as_columns, choose, known_dataset, read_text
from moppet.datasets.readers.folder_tree import has_any
from moppet.vocabulary import age_band

_CODES: Final = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_LISTS: Final = ("EmoLabel/list_patition_label.txt", "list_patition_label.txt")
_IMAGES: Final = ("Image/aligned", "aligned")
_ATTRIBUTES: Final = ("Annotation/manual", "manual")
_AGES: Final = ((0, 3), (4, 19), (20, 39), (40, 69), (70, 120))
_SPLITS: Final = {"train": "train", "test": "test"}


def _top(path: Path) -> Path:
    return path / "basic" if (path / "basic").is_dir() else path


def _read(dataset: Dataset, root: Path, *, allow_missing: bool = False) -> Manifest:
    top = _top(root)
    table = dataset.file(top, *_LISTS)
    images = dataset.folder(top, *_IMAGES)
    rows: list[tuple[str, str, str]] = []
    for number, line in enumerate(read_text(table).splitlines(), 1):
        if not line.strip():
            continue
        name, _, code = line.strip().rpartition(" ")
        split = _SPLITS.get(name.split("_")[0])
        if split is None or not code.isdecimal() or not 1 <= int(code) <= len(_CODES):
            raise dataset.odd(
                f'needs lines like "train_00001.jpg 5", codes 1 to 7, not {line!r} (line {number})',
                table,
            )
        stem, dot, suffix = name.rpartition(".")
        rows.append((f"{stem}_aligned{dot}{suffix}", _CODES[int(code) - 1], split))
    columns = as_columns(("path", "label", "split"), rows)
    there = dataset.present(images, columns["path"], table, allow_missing)
    columns["age_band"] = _bands(dataset, top, columns["path"])
    return dataset.build(images, choose(columns, there))


def _bands(dataset: Dataset, top: Path, paths: list[str]) -> list[str | None]:
    """Return age bands from the manual attributes, None without them."""
    folder = next((top / name for name in _ATTRIBUTES if (top / name).is_dir()), None)
    if folder is None:
        return [None] * len(paths)
    bands: list[str | None] = []
    for path in paths:
        file = folder / f"{path.rpartition('_aligned')[0]}_manu_attri.txt"
        if not file.is_file():
            bands.append(None)
            continue
        last = read_text(file).split()[-1:]
        if not last or last[0] not in set("01234"):
            raise dataset.odd("needs an age group from 0 to 4 in its last line", file)
        bands.append(age_band(*_AGES[int(last[0])]))
    return bands


RAFDB = known_dataset("raf-db", has_any(*_LISTS, *(f"basic/{name}" for name in _LISTS)), _read)
