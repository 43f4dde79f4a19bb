"""One folder per class: your own images, BabyExp and City Infant Faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import refuse_synthetic_folder
from moppet.datasets.readers.dataset import (
    IMAGES,
    Columns,
    Dataset,
    as_columns,
    known_dataset,
    subject_finder,
)
from moppet.datasets.readers.file_names import Facts, named_columns
from moppet.datasets.readers.folder_tree import (
    DATASET_IMAGES,
    OTHER_IMAGES,
    first_few,
    first_files,
    name_contains,
    subfolders,
    walk_files,
    warn_unsupported,
)
from moppet.vocabulary import age_band, class_of, one_spelling, rename_classes, split_of

_ANY: Final = DATASET_IMAGES | OTHER_IMAGES
_BABYEXP: Final = {"happiness": "happiness", "sadness": "sadness"} | dict.fromkeys(
    ("normal", "neutral"), "neutral"
)


def class_columns(
    dataset: Dataset, root: Path, find_subject: Callable[[str], str | None]
) -> Columns:
    """Return path, label (the folder's name), subject and split of each image.

    root/<class>/… or root/<split>/<class>/…; deeper folders belong to the class.
    Raises MoppetError if no image is supported, and for images outside of a class or folders next
    to the splits.
    """
    splits = _splits(dataset, root)
    split_level = bool(splits)
    deep = 3 if split_level else 2
    outside, rows = [], []
    for path in walk_files(root):
        parts = path.split("/")
        if len(parts) < deep:
            outside.append(path)
            continue
        split = splits[parts[0]] if split_level else None
        rows.append((path, parts[deep - 2].strip(), find_subject(path), split))
    columns = as_columns(("path", "label", "subject", "split"), rows)
    _refuse_lost_classes(dataset, root, columns["path"], deep)
    if not columns["path"] and not outside:
        raise dataset.expected(f"folders with {IMAGES}", root)
    if outside:
        raise dataset.odd(
            f"has images outside of the class folders ({first_few(outside)}): move each into the "
            "folder of its class, or away",
            root,
        )
    warn_unsupported(root)
    return columns


def _refuse_lost_classes(dataset: Dataset, root: Path, paths: list[str], deep: int) -> None:
    """Raise MoppetError for class folders that have only images in unsupported formats."""

    def folder_of(path: str) -> str:
        return "/".join(path.split("/")[: deep - 1])

    read = {folder_of(path) for path in paths}
    unread = (x for x in walk_files(root, OTHER_IMAGES) if x.count("/") >= deep - 1)
    lost = Counter(folder for folder in map(folder_of, unread) if folder not in read)
    if lost:
        held = first_few([f"{folder}/ with {count:,}" for folder, count in lost.items()])
        raise dataset.odd(
            f"has class folders with unsupported image formats only ({held}): save the images as "
            ".jpg or .png, or move the folders away",
            root,
        )


def _splits(dataset: Dataset, root: Path) -> dict[str, str | None]:
    """Return folder → split if the first level is the splits, else {}."""
    folders = [folder for folder in subfolders(root) if first_files(folder, 1, _ANY)]
    splits = {folder.name: split_of(folder.name) for folder in folders}
    beside = [name for name, split in splits.items() if split is None]
    if not beside:
        return splits
    if any(splits[folder.name] and _looks_like_classes(folder) for folder in folders):
        named = first_few([name for name, split in splits.items() if split])
        raise dataset.odd(
            f"has the folders {first_few(beside)} next to the splits {named}: move their images "
            "into the classes of a split, or away",
            root,
        )
    return {}


def _looks_like_classes(path: Path) -> bool:
    return path.is_dir() and any(first_files(folder, 1, _ANY) for folder in subfolders(path))


def _read_classes(
    dataset: Dataset,
    root: Path,
    *,
    subject_pattern: str | None = None,
    as_given: bool = False,
    only_expressions: bool = False,
) -> Manifest:
    refuse_synthetic_folder(root.resolve())
    columns = class_columns(dataset, root, subject_finder(subject_pattern))
    renamed = (one_spelling if as_given else rename_classes)(columns["label"])
    columns["label"] = [renamed[name] for name in columns["label"]]
    return dataset.build(root, columns, only_expressions=only_expressions)


FOLDER = known_dataset("folder", _looks_like_classes, _read_classes)


def _looks_like_babyexp(path: Path) -> bool:
    return name_contains(path, "babyexp") and _looks_like_classes(path)


def _read_babyexp(dataset: Dataset, root: Path, *, subject_pattern: str | None = None) -> Manifest:
    columns = class_columns(dataset, root, subject_finder(subject_pattern))
    columns["label"] = [_BABYEXP.get(class_of(name), name) for name in columns["label"]]
    odd = sorted({*columns["label"]} - {*_BABYEXP.values()})
    if odd:
        raise dataset.odd(
            f"has class folders {first_few(odd)}, where happy, sad, normal were expected", root
        )
    columns["age_band"] = [age_band(0, 1)] * len(columns["path"])
    return dataset.build(root, columns)


BABYEXP = known_dataset("babyexp", _looks_like_babyexp, _read_babyexp)


def _looks_like_city(path: Path) -> bool:
    return name_contains(path, "city", "infant") and bool(first_files(path, 1))


def _read_city(dataset: Dataset, root: Path, *, subject_pattern: str | None = None) -> Manifest:
    find_subject = subject_finder(subject_pattern)

    def facts_of(path: str) -> Facts | None:
        named = [word for word in ("positive", "negative", "neutral") if word in path.casefold()]
        facts = {"label": named[0] if named else None, "subject": find_subject(path)}
        return facts | {"age_band": age_band(0, 1)} if len(named) == 1 else None

    example = "positive/1.jpg (with one of the words positive, negative and neutral)"
    return dataset.build(root, named_columns(dataset, root, facts_of, example))


CITY_INFANT = known_dataset("city-infant", _looks_like_city, _read_city)
