"""CK+: posed sequences from a neutral face to the peak of an expression."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import Columns, Dataset, read_text
from moppet.datasets.readers.folder_tree import natural, subfolders
from moppet.media import IMAGE_SUFFIXES
from moppet.values import UsageError
from moppet.vocabulary import age_band, decode

_CODES: Final = (
    *("neutral", "anger", "contempt", "disgust"),
    *("fear", "happy", "sadness", "surprise"),
)
_ARCHIVE: Final = "extended-cohn-kanade-images"  # the folder that some tools unpack into
_IMAGES: Final = ("cohn-kanade-images", f"{_ARCHIVE}/cohn-kanade-images", _ARCHIVE)
_LABELS: Final = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")
_FRAMES: Final = ("peak", "last-third")


def _looks_like(path: Path) -> bool:
    return any((path / name).is_dir() for name in _IMAGES)


def _read(
    dataset: Dataset,
    root: Path,
    *,
    frames: str = "peak",
    neutral: bool = True,
    only_expressions: bool = False,
) -> Manifest:
    if frames not in _FRAMES:
        raise UsageError(f"frames is one of {', '.join(_FRAMES)}, not {frames!r}.")
    images, labels = dataset.folder(root, *_IMAGES), dataset.folder(root, *_LABELS)
    columns: Columns = {"path": [], "label": [], "subject": [], "sequence": []}
    for subject in subfolders(labels):
        for sequence in subfolders(subject):
            label = _label(dataset, sequence)
            if label is None:
                continue
            taken = _frames(dataset, images / subject.name / sequence.name)
            shown = taken[-math.ceil(len(taken) / 3) :] if frames == "last-third" else taken[-1:]
            rows = [(name, label) for name in shown]
            if neutral and len(taken) > len(shown):
                rows.insert(0, (taken[0], "neutral"))
            for name, meant in rows:
                path = (
                    f"{images.relative_to(root).as_posix()}/{subject.name}/{sequence.name}/{name}"
                )
                columns["path"].append(path)
                columns["label"].append(meant)
                columns["subject"].append(subject.name)
                columns["sequence"].append(f"{subject.name}/{sequence.name}")
    if not columns["path"]:
        raise dataset.expected("SUBJECT/SEQUENCE/*_emotion.txt", labels)
    columns["age_band"] = [age_band(18, 50)] * len(columns["path"])
    return dataset.build(root, columns, only_expressions=only_expressions)


def _label(dataset: Dataset, sequence: Path) -> str | None:
    """Return the class of a sequence; None for the many without a label."""
    files = sorted(sequence.glob("[!.]*_emotion.txt"))
    if not files:
        return None
    text = read_text(files[0]).strip()
    try:
        return decode(text, _CODES)
    except ValueError:
        raise dataset.odd(f"needs a number from 0 to 7, not {text!r}", files[0]) from None


def _frames(dataset: Dataset, sequence: Path) -> list[str]:
    names = [
        file.name
        for file in (sequence.iterdir() if sequence.is_dir() else [])
        if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."
    ]
    if not names:
        raise dataset.expected("the labeled sequence's images", sequence)
    return sorted(names, key=natural)


CKPLUS = Dataset(
    name="ck+",
    title="CK+",
    layout="""
        CK+/
          cohn-kanade-images/S005/001/S005_001_00000001.png, …  also in extended-cohn-kanade-images/
          Emotion/S005/001/S005_001_00000011_emotion.txt        also in Emotion_labels/: a number,
                0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happy, 6 sadness, 7 surprise
    """,
    basis=(
        "The dataset's own ReadMe (phase 1, revised September 2010), quoted on public pages, and "
        "public loaders. Not checked against the dataset."
    ),
    license=(
        "For research by those who have signed the user agreement. The images must not be passed "
        "on, and only images of participants who agreed to it may be published; ask the owners "
        "(http://www.jeffcohn.net/Resources/)."
    ),
    looks_like=_looks_like,
    reader=_read,
)
