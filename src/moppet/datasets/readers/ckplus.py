"""CK+: posed sequences from a neutral face to the peak of an expression."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import Dataset, as_columns, known_dataset, read_text
from moppet.datasets.readers.folder_tree import has_any, subfolders
from moppet.media import IMAGE_SUFFIXES
from moppet.media.sources import natural
from moppet.vocabulary import age_band, decode

_CODES: Final = (
    *("neutral", "anger", "contempt", "disgust"),
    *("fear", "happy", "sadness", "surprise"),
)
_ARCHIVE: Final = "extended-cohn-kanade-images"  # the folder that some tools unpack into
_IMAGES: Final = ("cohn-kanade-images", f"{_ARCHIVE}/cohn-kanade-images", _ARCHIVE)
_LABELS: Final = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")


def _read(
    dataset: Dataset,
    root: Path,
    *,
    frames: Literal["peak", "last-third"] = "peak",
    neutral: bool = True,
    only_expressions: bool = False,
) -> Manifest:
    images, labels = dataset.folder(root, *_IMAGES), dataset.folder(root, *_LABELS)
    found: list[tuple[str, str, str, str]] = []
    home = images.relative_to(root).as_posix()
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
            place = f"{subject.name}/{sequence.name}"
            found += [(f"{home}/{place}/{name}", one, subject.name, place) for name, one in rows]
    if not found:
        raise dataset.expected("SUBJECT/SEQUENCE/*_emotion.txt", labels)
    columns = as_columns(("path", "label", "subject", "sequence"), found)
    columns["age_band"] = [age_band(18, 50)] * len(found)
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


CKPLUS = known_dataset("ck+", has_any(*_IMAGES), _read)
