"""Datasets with videos: LIRIS-CSE, ChildEFES and EmoReact."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from annotated_types import Gt

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import (
    Columns,
    Dataset,
    known_dataset,
    read_text,
    subject_finder,
)
from moppet.datasets.readers.file_names import Facts, by_pattern, named_columns
from moppet.datasets.readers.folder_tree import (
    first_files,
    has_any,
    name_contains,
    named_like,
    subfolders,
)
from moppet.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, probe, read_frames
from moppet.values import EXPRESSIONS, MediaError
from moppet.vocabulary import age_band, class_of, expressions_in

Seconds = Annotated[float, Gt(0)]


def with_frames(columns: Columns, root: Path, every_s: float) -> Columns:
    """Return the columns with a row for each sampled frame of a video, and its `time_s`."""
    times = [
        frame_times(root / path, every_s)
        if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
        else [None]
        for path in columns["path"]
    ]
    rows = [row for row, of_one in enumerate(times) for _ in of_one]
    sampled = {name: [values[row] for row in rows] for name, values in columns.items()}
    return sampled | {"time_s": [time_s for of_one in times for time_s in of_one]}


def frame_times(video: Path, every_s: float) -> list[float]:
    """Return the middles of a video's segments of `every_s` seconds; its own middle if shorter.

    An unreadable video gets one row, at 0, so that the audit reports it.
    """
    try:
        duration_s = probe(video).duration_s
        if math.isnan(duration_s):
            duration_s = max(frame.time_s for frame in read_frames(video))
    except MediaError:
        return [0.0]
    times = np.arange(every_s / 2, duration_s, every_s)
    return [round(float(t), 3) for t in times] or [round(duration_s / 2, 3)]


_LIRIS_FOLDER: Final = "videos_208"
_LIRIS_CHILD: Final = r"(?:^|/)S0*(\d{1,2})(?![0-9])"


def _looks_like_liris(path: Path) -> bool:
    if (path / _LIRIS_FOLDER).is_dir() or name_contains(path, "videos208"):
        return True
    return name_contains(path, "liris") and bool(first_files(path, 1, VIDEO_SUFFIXES))


def _read_liris(
    dataset: Dataset, root: Path, *, every_s: Seconds = 1.0, subject_pattern: str = _LIRIS_CHILD
) -> Manifest:
    find_subject = subject_finder(subject_pattern)

    def facts_of(path: str) -> Facts | None:
        shown, subject = expressions_in(os.path.basename(path)), find_subject(path)
        if not shown or subject is None:
            return None
        label = shown[0] if len(shown) == 1 else None
        subject = f"S{subject}" if subject.isdigit() else subject
        return {"label": label, "subject": subject, "age_band": age_band(6, 12)}

    example = "S1_happy_2.mp4 (child, expression)"
    columns = named_columns(dataset, root, facts_of, example, suffixes=VIDEO_SUFFIXES)
    return dataset.build(root, with_frames(columns, root, every_s))


LIRIS_CSE = known_dataset("liris-cse", _looks_like_liris, _read_liris)

_EFES: Final = re.compile(
    r"(\d{1,3})_(?:.*_)?(neutral|happy|surprise|sad|anger|disgust|fear|contempt)\.\w+",
    re.IGNORECASE,
)
_MEDIA: Final = IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _efes_facts(child: str, shown: str) -> Facts:
    return {"label": class_of(shown), "subject": str(int(child)), "age_band": age_band(4, 6)}


def _read_efes(
    dataset: Dataset, root: Path, *, every_s: Seconds = 1.0, only_expressions: bool = False
) -> Manifest:
    facts_of = by_pattern(_EFES, _efes_facts)
    columns = named_columns(dataset, root, facts_of, "35_photo_2_happy.jpg", suffixes=_MEDIA)
    columns = with_frames(columns, root, every_s)
    return dataset.build(root, columns, only_expressions=only_expressions)


CHILD_EFES = known_dataset("childefes", lambda path: named_like(path, _EFES, _MEDIA), _read_efes)

_REACT_CLASSES: Final = (
    *("curiosity", "uncertainty", "excitement", "happiness"),
    *("surprise", "disgust", "fear", "frustration"),
)
_REACT_PARTS: Final = {
    "Train": ("train_labels.text", "Train_names.txt", "train"),
    "Validation": ("val_labels.text", "Val_names.txt", "val"),
    "Test": ("test_labels.text", "Test_names.txt", "test"),
}


def _read_react(
    dataset: Dataset,
    root: Path,
    *,
    every_s: Seconds = 1.0,
    only_expressions: bool = False,
    allow_missing: bool = False,
) -> Manifest:
    kept = [
        i for i, name in enumerate(_REACT_CLASSES) if name in EXPRESSIONS or not only_expressions
    ]
    names_kept = [_REACT_CLASSES[i] for i in kept]
    columns: Columns = {}
    parts = {folder.name for folder in subfolders(dataset.folder(root, "Data"))}
    for part, (labels, names, split) in _REACT_PARTS.items():
        if part not in parts:
            continue
        table = dataset.file(root / "Labels", labels)
        listed = dataset.file(root, names, f"Labels/{names}")
        clips = [f"Data/{part}/{name}" for name in _clip_names(listed)]
        seen = _clip_labels(dataset, table, len(clips), listed)
        there = dataset.present(root, clips, listed, allow_missing)
        for clip, row, found in zip(clips, seen, there, strict=True):
            votes = [row[i] for i in kept]
            if found and (any(votes) or not only_expressions):
                facts = _react_facts(clip, votes, names_kept)
                facts |= {"valence": row[8] if len(row) > 8 else None, "split": split}
                for name, value in facts.items():
                    columns.setdefault(name, []).append(value)
    if not columns:
        raise dataset.expected("Train, Validation or Test with videos", root / "Data")
    return dataset.build(root, with_frames(columns, root, every_s), names=names_kept)


def _clip_names(listed: Path) -> list[str]:
    """Return the names, which are in single quotes, with inner quotes doubled."""
    lines = (line.strip() for line in read_text(listed).splitlines())
    return [re.sub(r"^'(.*)'$", r"\1", line).replace("''", "'") for line in lines if line]


def _clip_labels(dataset: Dataset, table: Path, clips: int, listed: Path) -> list[list[float]]:
    rows = []
    for line in read_text(table).splitlines():
        if line.strip():
            try:
                rows.append([float(cell) for cell in line.split(",")])
            except ValueError:
                raise dataset.odd(f"needs numbers between commas, not {line!r}", table) from None
    if len(rows) != clips:
        raise dataset.odd(f"has {len(rows)} rows, but {listed.name} names {clips} videos", table)
    if any(len(row) not in (8, 9) or not set(row[:8]) <= {0.0, 1.0} for row in rows):
        needed = f"needs eight 0 or 1 ({', '.join(_REACT_CLASSES)}) and the valence in each row"
        raise dataset.odd(needed, table)
    return rows


def _react_facts(clip: str, votes: list[float], names: list[str]) -> Facts:
    """Return the columns of a clip; it has a label only if it shows exactly one emotion."""
    episode = re.match(r"[^\d]*", os.path.basename(clip))
    return {
        "path": clip,
        "label": names[votes.index(1)] if sum(votes) == 1 else None,
        "votes": votes,
        "subject": episode.group().strip("_ ") if episode and episode.group() else clip,
        "age_band": age_band(4, 14),
    }


EMOREACT = known_dataset(
    "emoreact",
    has_any(*(f"Labels/{labels}" for labels, _, _ in _REACT_PARTS.values())),
    _read_react,
)
