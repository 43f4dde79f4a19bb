"""Datasets with videos: LIRIS-CSE, EmoReact and ChildEFES."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import Columns, Dataset, read_text, subject_finder
from moppet.datasets.readers.folder_tree import (
    bears_name,
    first_files,
    named_like,
    some_of,
    subfolders,
    walk_files,
)
from moppet.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, probe, read_frames
from moppet.values import EXPRESSIONS, MediaError, MoppetError, UsageError
from moppet.vocabulary import age_band, class_of, expressions_in


def frame_times(video: Path, every_s: float) -> list[float]:
    """Return the middles of a video's segments of `every_s` seconds; its own middle if shorter.

    An unreadable video gets one row, at 0, so that the audit reports it.
    Raises UsageError unless every_s is a number above 0.
    """
    if not (math.isfinite(every_s) and every_s > 0):
        raise UsageError(f"every_s must be a number of seconds above 0, not {every_s!r}.")
    try:
        duration_s = probe(video).duration_s
        if math.isnan(duration_s):
            duration_s = max(frame.time_s for frame in read_frames(video))
    except MediaError:
        return [0.0]
    times = np.arange(every_s / 2, duration_s, every_s)
    return [round(float(t), 3) for t in times] or [round(duration_s / 2, 3)]


_MEDIA: Final = IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _add_frames(
    columns: Columns, root: Path, path: str, every_s: float, facts: dict[str, Any]
) -> None:
    """Add a row for an image, or one for each sampled frame of a video."""
    is_video = os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
    for time_s in frame_times(root / path, every_s) if is_video else [None]:
        for name, value in {"path": path, "time_s": time_s, **facts}.items():
            columns.setdefault(name, []).append(value)


def _named_media(
    dataset: Dataset,
    root: Path,
    suffixes: frozenset[str],
    every_s: float,
    facts_of: Callable[[str], dict[str, Any] | None],
    example: str,
) -> Columns:
    """Return the columns from file names; MoppetError for names that do not match."""
    paths = list(walk_files(root, suffixes))
    facts = {path: facts_of(path) for path in paths}
    strange = [path for path, found in facts.items() if found is None]
    if strange:
        raise dataset.odd(
            f"holds {len(strange):,} files that are not named like {example} "
            f"({some_of(strange)}): rename them or move them away",
            root,
        )
    if not paths:
        raise dataset.expected(f"files named like {example}", root)
    columns: Columns = {}
    for path, found in facts.items():
        _add_frames(columns, root, path, every_s, found or {})
    return columns


_LIRIS_FOLDER: Final = "videos_208"
_LIRIS_CHILD: Final = r"(?:^|/)S0*(\d{1,2})(?![0-9])"


def _looks_like_liris(path: Path) -> bool:
    if (path / _LIRIS_FOLDER).is_dir() or bears_name(path, "videos208"):
        return True
    return bears_name(path, "liris") and bool(first_files(path, 1, VIDEO_SUFFIXES))


def _read_liris(
    dataset: Dataset, root: Path, *, every_s: float = 1.0, subject_pattern: str = _LIRIS_CHILD
) -> Manifest:
    find_subject = subject_finder(subject_pattern)

    def facts_of(path: str) -> dict[str, Any] | None:
        shown, subject = expressions_in(os.path.basename(path)), find_subject(path)
        if not shown or subject is None:
            return None
        label = shown[0] if len(shown) == 1 else None
        subject = f"S{subject}" if subject.isdigit() else subject
        return {"label": label, "subject": subject, "age_band": age_band(6, 12)}

    columns = _named_media(
        dataset, root, VIDEO_SUFFIXES, every_s, facts_of, "S1_happy_2.mp4 (child, expression)"
    )
    return dataset.build(root, columns)


LIRIS_CSE = Dataset(
    name="liris-cse",
    title="LIRIS-CSE",
    layout="""
        LIRIS-CSE/                      found by this name or by the folder videos_208
          videos_208/
            S1_happy_1.mp4, …           the child (S and a number), one word for the expression;
                                        two words: no label. One frame every every_s seconds
    """,
    basis=(
        "Public code that reads the download: 208 clips in videos_208 with happy, sad, fear, "
        "surprise or disgust in the file name. How the child is named is an assumption: if your "
        "files differ, give subject_pattern, a regular expression with the child in its first "
        "group. The paper (Khan et al. 2019, arXiv 1812.01555) describes 12 children of 6 to 12 "
        "years. Not checked against the dataset. The label applies to the whole clip; single "
        "frames may show a calm face."
    ),
    license=(
        "Provided to researchers on request to the authors, who state what is allowed "
        "(https://childrenfacialexpression.projet.liris.cnrs.fr/). It shows children."
    ),
    looks_like=_looks_like_liris,
    reader=_read_liris,
)

_EFES: Final = re.compile(
    r"(\d{1,3})_(?:.*_)?(neutral|happy|surprise|sad|anger|disgust|fear|contempt)\.\w+",
    re.IGNORECASE,
)


def _efes_facts(path: str) -> dict[str, Any] | None:
    match = _EFES.fullmatch(os.path.basename(path))
    if not match:
        return None
    child, shown = match.groups()
    return {"label": class_of(shown), "subject": str(int(child)), "age_band": age_band(4, 6)}


def _read_efes(
    dataset: Dataset, root: Path, *, every_s: float = 1.0, only_expressions: bool = False
) -> Manifest:
    columns = _named_media(dataset, root, _MEDIA, every_s, _efes_facts, "35_photo_2_happy.jpg")
    return dataset.build(root, columns, only_expressions=only_expressions)


CHILD_EFES = Dataset(
    name="childefes",
    title="ChildEFES",
    layout="""
        ChildEFES/
          35_photo_2_happy.jpg     in any folder: the child's number first, the expression last
          32_video_1_sad.mp4       (neutral, happy, surprise, sad, anger, disgust, fear, contempt);
                                   the rest is arbitrary. Videos: one frame every every_s seconds
    """,
    basis=(
        "A public loader uses the last word of each .jpg and .mp4 file name in one folder as the "
        "expression. That the name starts with the child's number is our interpretation of the "
        "numbers in another repository. The paper (Negrão et al. 2021, doi "
        "10.3389/fpsyg.2021.666245) describes 124 children of 4 to 6 years, with contempt as an "
        "eighth class. Not checked against the dataset."
    ),
    license=(
        "Provided to researchers on request to the authors, who state what is allowed "
        "(https://doi.org/10.3389/fpsyg.2021.666245). It shows children."
    ),
    looks_like=lambda path: named_like(path, _EFES, _MEDIA),
    reader=_read_efes,
)

_REACT_CLASSES: Final = (
    *("curiosity", "uncertainty", "excitement", "happiness"),
    *("surprise", "disgust", "fear", "frustration"),
)
_REACT_PARTS: Final = {
    "Train": ("train_labels.text", "Train_names.txt", "train"),
    "Validation": ("val_labels.text", "Val_names.txt", "val"),
    "Test": ("test_labels.text", "Test_names.txt", "test"),
}


def _looks_like_react(path: Path) -> bool:
    labels = [labels for labels, _, _ in _REACT_PARTS.values()]
    return any((path / "Labels" / name).is_file() for name in labels)


def _read_react(
    dataset: Dataset,
    root: Path,
    *,
    every_s: float = 1.0,
    only_expressions: bool = False,
    allow_missing: bool = False,
) -> Manifest:
    kept = [
        i for i, name in enumerate(_REACT_CLASSES) if name in EXPRESSIONS or not only_expressions
    ]
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
                facts = _react_facts(clip, votes, [_REACT_CLASSES[i] for i in kept])
                facts |= {"valence": row[8] if len(row) > 8 else None, "split": split}
                _add_frames(columns, root, clip, every_s, facts)
    if not columns:
        raise dataset.expected("Train, Validation or Test with videos", root / "Data")
    columns["votes"] = np.array(columns["votes"], np.float32)  # type: ignore[assignment]
    return dataset.build(root, columns, names=[_REACT_CLASSES[i] for i in kept])


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
        raise MoppetError(
            f"{dataset.title}: {table} needs eight 0 or 1 ({', '.join(_REACT_CLASSES)}) and the "
            "valence in each row."
        )
    return rows


def _react_facts(clip: str, votes: list[float], names: list[str]) -> dict[str, Any]:
    """Return the columns of a clip; it has a label only if it shows exactly one emotion."""
    episode = re.match(r"[^\d]*", os.path.basename(clip))
    return {
        "label": names[votes.index(1)] if sum(votes) == 1 else None,
        "votes": votes,
        "subject": episode.group().strip("_ ") if episode and episode.group() else clip,
        "age_band": age_band(4, 14),
    }


EMOREACT = Dataset(
    name="emoreact",
    title="EmoReact",
    layout="""
        EmoReact_V_1.0/
          Data/Train/KIMCHI72_2.mp4, …   Data/Validation/…   Data/Test/…
          Labels/train_labels.text       val_labels.text, test_labels.text: row per video, 0 or 1
                    for curiosity, uncertainty, excitement, happiness, surprise, disgust, fear,
                    frustration, then the valence
          Train_names.txt                Val_names.txt, Test_names.txt, or in Labels/: the videos
                                         in the same order, in quotes
    """,
    basis=(
        "Public loaders of the download, which agree on the columns and on the lists of names. "
        "Not checked against the dataset. One frame is read every every_s seconds. A clip may "
        "show several emotions: they become votes, and a label only if there is exactly one. The "
        "children are not identified. The subject is the episode (the name up to its first "
        "digit), which keeps the clips of one episode together, but a child may occur in several "
        "episodes. Ages 4 to 14: the age band is uncertain."
    ),
    license=(
        "For research by academic or industrial users who have signed its end-user agreement "
        "(https://github.com/bnojavan/EmoReact). The clips come from YouTube and show children."
    ),
    looks_like=_looks_like_react,
    reader=_read_react,
)
