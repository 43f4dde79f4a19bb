"""One folder per class: your own images, BabyExp and City Infant Faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import refuse_synthetic_folder
from moppet.datasets.readers.dataset import IMAGES, Columns, Dataset, subject_finder
from moppet.datasets.readers.folder_tree import (
    OTHER_IMAGES,
    bears_name,
    first_files,
    some_of,
    subfolders,
    walk_files,
    warn_unsupported,
)
from moppet.media import IMAGE_SUFFIXES
from moppet.vocabulary import age_band, class_of, rename_classes, split_of

_ANY: Final = IMAGE_SUFFIXES | OTHER_IMAGES
_SYNONYMS: Final = {"normal": "neutral"}  # in BabyExp only


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
    columns: Columns = {"path": [], "label": [], "subject": [], "split": []}
    outside = []
    for path in walk_files(root):
        parts = path.split("/")
        if len(parts) < deep:
            outside.append(path)
            continue
        columns["path"].append(path)
        columns["label"].append(parts[deep - 2].strip())
        columns["subject"].append(find_subject(path))
        columns["split"].append(splits[parts[0]] if split_level else None)
    _refuse_lost_classes(dataset, root, columns["path"], deep)
    if not columns["path"] and not outside:
        raise dataset.expected(f"folders with {IMAGES}", root)
    if outside:
        raise dataset.odd(
            f"has images outside of the class folders ({some_of(outside)}): move each into the "
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
        held = some_of([f"{folder}/ with {count:,}" for folder, count in lost.items()])
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
        named = some_of([name for name, split in splits.items() if split])
        raise dataset.odd(
            f"has the folders {some_of(beside)} next to the splits {named}: move their images "
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
    if not as_given:
        renamed = rename_classes(columns["label"])
        columns["label"] = [renamed[name] for name in columns["label"]]
    return dataset.build(root, columns, only_expressions=only_expressions)


FOLDER = Dataset(
    name="folder",
    title="One folder per class",
    layout="""
        my_faces/
          happy/  001.jpg, 002.png, …    any class names; deeper folders belong to the class
          sad/    003.jpg, …
        or, if you have a split:
        my_faces/
          train/  happy/ …  sad/ …       train: train, training
          val/    happy/ …  sad/ …       val: val, valid, validation, dev
          test/   happy/ …  sad/ …       test: test, testing
    """,
    basis=("moppet's own convention, the same as that of torchvision's ImageFolder."),
    license=(
        "These are your own images. Use only images whose owners allow it and, for children, "
        "whose parents have agreed to this use; moppet cannot check this."
    ),
    looks_like=_looks_like_classes,
    reader=_read_classes,
)


def _looks_like_babyexp(path: Path) -> bool:
    return bears_name(path, "babyexp") and _looks_like_classes(path)


def _read_babyexp(dataset: Dataset, root: Path, *, subject_pattern: str | None = None) -> Manifest:
    columns = class_columns(dataset, root, subject_finder(subject_pattern))
    named: list[str] = columns["label"]
    given = [class_of(_SYNONYMS.get(name.casefold(), name)) for name in named]
    _demand_classes(dataset, root, given, {"happiness", "sadness", "neutral"}, "happy, sad, normal")
    columns |= {"label": given, "age_band": [age_band(0, 1)] * len(given)}
    return dataset.build(root, columns)


def _demand_classes(
    dataset: Dataset, root: Path, given: list[str], known: set[str], named: str
) -> None:
    odd = sorted(set(given) - known)
    if odd:
        raise dataset.odd(f"has class folders {some_of(odd)}, where {named} were expected", root)


BABYEXP = Dataset(
    name="babyexp",
    title="BabyExp",
    layout="""
        babyexp/                  found by this name; otherwise use --kind
          happy/   *.jpg          happiness
          sad/     *.jpg          sadness
          normal/  *.jpg          neutral; train/, val/ and test/ may be parent folders
    """,
    basis=(
        "The paper (Lin, He & Jiang 2020, doi 10.1155/2020/8855885) describes three classes, "
        "12,000 images and ages under two years. The folder layout and the file names are not "
        "public: this layout is an assumption, not checked against the dataset. The subjects are "
        "unknown; give subject_pattern if your file names contain them."
    ),
    license=(
        "Its license and consent conditions are not published: ask the authors before you use it "
        "(https://doi.org/10.1155/2020/8855885). It shows babies."
    ),
    looks_like=_looks_like_babyexp,
    reader=_read_babyexp,
)


def _looks_like_city(path: Path) -> bool:
    return bears_name(path, "city", "infant") and bool(first_files(path, 1))


def _read_city(dataset: Dataset, root: Path, *, subject_pattern: str | None = None) -> Manifest:
    find_subject = subject_finder(subject_pattern)
    columns: Columns = {"path": [], "label": [], "subject": []}
    for path in walk_files(root):
        named = [word for word in ("positive", "negative", "neutral") if word in path.casefold()]
        if len(named) != 1:
            raise dataset.odd(
                "needs exactly one of the words positive, negative and neutral in its name or its "
                "folder's",
                root / path,
            )
        columns["path"].append(path)
        columns["label"].append(named[0])
        columns["subject"].append(find_subject(path))
    warn_unsupported(root)
    if not columns["path"]:
        raise dataset.expected(f"positive, negative and neutral {IMAGES}", root)
    columns["age_band"] = [age_band(0, 1)] * len(columns["path"])
    return dataset.build(root, columns)


CITY_INFANT = Dataset(
    name="city-infant",
    title="City Infant Faces",
    layout="""
        city_infant_faces/        found by this name; otherwise use --kind
          positive/  *.jpg        or the word anywhere in the file's name
          negative/  *.jpg
          neutral/   *.jpg
    """,
    basis=(
        "The paper (Webb, Ayers & Endress 2018, doi 10.3758/s13428-017-0859-9) describes three "
        "classes (60 positive, 54 negative, 40 neutral) and ages of 0–12 months. The dataset is "
        "sent by email and its file names are not public: this layout is an assumption, not "
        "checked against the dataset. There are several images of one infant, but which ones is "
        "unknown. If your file names contain the infant, give subject_pattern; otherwise images "
        "of one infant may be in both parts of a split."
    ),
    license=(
        "Sent by email to researchers who ask its authors at City, University of London "
        "(https://doi.org/10.3758/s13428-017-0859-9). The photographs were provided by parents. "
        "Ask the authors what is allowed."
    ),
    looks_like=_looks_like_city,
    reader=_read_city,
)
