"""Children's faces with the subject and the expression in the file name: CAFE, NIMH-ChEFS, …"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.csv_tables import read_ages
from moppet.datasets.readers.dataset import Columns, Dataset, known_dataset
from moppet.datasets.readers.folder_tree import (
    DATASET_IMAGES,
    first_few,
    first_files,
    name_contains,
    named_like,
    walk_files,
    warn_unsupported,
)
from moppet.vocabulary import EXPRESSION_WORDS, age_band, expression_of, expressions_in

Facts = dict[str, Any]
FactsOf = Callable[[str], Facts | None]
"""Relative path → column → value; None for a name that does not match."""
SEXES: Final = {"f": "female", "m": "male"}


def named_columns(
    dataset: Dataset,
    root: Path,
    facts_of: FactsOf,
    example: str,
    *,
    suffixes: Collection[str] = DATASET_IMAGES,
    ages: Path | None = None,
) -> Columns:
    """Return the columns that the files' relative paths contain.

    ages: a CSV with subject and age, for datasets without ages in the file names; a subject's age
        replaces the dataset's age band.
    Raises MoppetError if there are no files, or some are not named like the example.
    """
    known = read_ages(ages)
    columns: Columns = {}
    strange = []
    for path in walk_files(root, suffixes):
        facts = facts_of(path)
        if facts is None:
            strange.append(path)
            continue
        if known:
            facts["age"] = known.get(facts["subject"])
            facts["age_band"] = age_band(facts["age"]) or facts["age_band"]
        for name, value in {"path": path, **facts}.items():
            columns.setdefault(name, []).append(value)
    if set(suffixes) >= DATASET_IMAGES:
        warn_unsupported(root)
    if strange:
        raise dataset.odd(
            f"holds {len(strange):,} files that are not named like {example} "
            f"({first_few(strange)}): rename them, move them away, or list the images in a "
            "labels.csv (path,label,subject) and read that",
            root,
        )
    if not columns:
        raise dataset.expected(f"files named like {example}", root)
    return columns


def by_pattern(pattern: re.Pattern[str], facts: Callable[..., Facts | None]) -> FactsOf:
    """Return what reads a file's name: `facts` is called with the groups of the pattern."""

    def facts_of(path: str) -> Facts | None:
        match = pattern.fullmatch(os.path.basename(path))
        return facts(*match.groups()) if match else None

    return facts_of


def _reader_with_ages(facts_of: FactsOf, example: str) -> Callable[..., Manifest]:
    def read(dataset: Dataset, root: Path, *, ages: Path | None = None) -> Manifest:
        return dataset.build(root, named_columns(dataset, root, facts_of, example, ages=ages))

    return read


_CAFE_WORDS: Final = "|".join(sorted(EXPRESSION_WORDS, key=len, reverse=True))
_CAFE: Final = re.compile(
    rf"\d+[-_]({_CAFE_WORDS})(open)?_([FM])-([A-Z]{{2}})-(\d+)\.\w+", re.IGNORECASE
)


def _cafe_facts(word: str, mouth: str | None, sex: str, group: str, child: str) -> Facts:
    return {
        "label": expression_of(word),
        "subject": f"{sex}-{group}-{child}".upper(),
        "age_band": age_band(2, 8),
        "mouth": "open" if mouth else "closed",
        "sex": SEXES[sex.lower()],
        "ethnicity": group.upper(),
    }


CAFE = known_dataset(
    "cafe",
    lambda path: named_like(path, _CAFE),
    _reader_with_ages(by_pattern(_CAFE, _cafe_facts), "10541-happy_F-EA-14.jpg"),
)

_NIMH: Final = re.compile(r"([FM])(\d{2})([AFHNS])([A-Z])_?\d+\.\w+", re.IGNORECASE)
_NIMH_CODES: Final = {
    "A": "anger",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
}


def _nimh_facts(sex: str, child: str, code: str, gaze: str) -> Facts:
    return {
        "label": _NIMH_CODES[code.upper()],
        "subject": f"{sex}{child}".upper(),
        "age_band": age_band(10, 17),
        "gaze": "direct" if gaze.upper() == "S" else "averted",
        "sex": SEXES[sex.lower()],
    }


NIMH_CHEFS = known_dataset(
    "nimh-chefs",
    lambda path: named_like(path, _NIMH),
    _reader_with_ages(by_pattern(_NIMH, _nimh_facts), "M10HS_6767.jpg"),
)

_DARTMOUTH_SUBJECT: Final = re.compile(r"(?<![^\W_])S0*(\d{1,3})(?![^\W_])", re.IGNORECASE)


def _dartmouth_facts(path: str) -> Facts | None:
    who = _DARTMOUTH_SUBJECT.search(path)
    shown: list[str] = []
    for name in (os.path.basename(path), path):
        shown = shown or expressions_in(name, more=("content", "pleased"))
    if who is None or len(shown) != 1:
        return None
    return {"label": shown[0], "subject": f"S{who.group(1)}", "age_band": age_band(6, 16)}


def _looks_like_dartmouth(path: Path) -> bool:
    named = name_contains(path, "dartmouth") or name_contains(path, "ddcf")
    return named and bool(first_files(path, 1))


def _read_dartmouth(
    dataset: Dataset, root: Path, *, ages: Path | None = None, only_expressions: bool = False
) -> Manifest:
    columns = named_columns(dataset, root, _dartmouth_facts, "S11_happy_front.jpg", ages=ages)
    return dataset.build(root, columns, only_expressions=only_expressions)


DARTMOUTH = known_dataset("dartmouth", _looks_like_dartmouth, _read_dartmouth)

_TROMSO: Final = re.compile(
    r"(A\d{2})[FM](\d{1,2})-([A-Za-z]+)-\d+((?:[A-Z]{2})(?:-[A-Z]{2})*)\.\w+"
)
_TROMSO_CODES: Final = {
    "AF": "fear",
    "AN": "anger",
    "DI": "disgust",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SC": "fear",
    "SU": "surprise",
}


def _tromso_facts(infant: str, months: str, permission: str, codes: str) -> Facts | None:
    labels = [_TROMSO_CODES.get(code) for code in codes.split("-")]
    if None in labels:
        return None
    return {
        "label": labels[0],
        "subject": infant,
        "age": int(months) / 12,
        "age_band": age_band(int(months) / 12),
        "codes": codes,
        "permission": permission.upper(),
    }


def _read_tromso(dataset: Dataset, root: Path) -> Manifest:
    facts_of = by_pattern(_TROMSO, _tromso_facts)
    return dataset.build(root, named_columns(dataset, root, facts_of, "A02F10-JTP-4281AN.jpg"))


TROMSO = known_dataset("tromso", lambda path: named_like(path, _TROMSO), _read_tromso)
