"""Photos of children with the subject and the expression in the file name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.csv_tables import read_ages
from moppet.datasets.readers.dataset import IMAGES, Columns, Dataset
from moppet.datasets.readers.folder_tree import (
    bears_name,
    first_files,
    named_like,
    some_of,
    walk_files,
    warn_unsupported,
)
from moppet.vocabulary import EXPRESSION_WORDS, age_band, expression_of, expressions_in

Facts = dict[str, Any]


def named_columns(
    dataset: Dataset,
    root: Path,
    facts_of: Callable[[str], Facts | None],
    example: str,
    ages: str | os.PathLike[str] | None = None,
) -> Columns:
    """Return the columns that the images' relative paths contain.

    facts_of: relative path → column → value, None for a name that does not match.
    ages: a CSV with subject and age, for datasets without ages in the file names; a subject's age
        replaces the dataset's age band.
    Raises MoppetError if there are no images, or some are not named like the example.
    """
    known = read_ages(ages)
    columns: Columns = {}
    strange = []
    for path in walk_files(root):
        facts = facts_of(path)
        if facts is None:
            strange.append(path)
            continue
        if facts["subject"] in known:
            facts["age"] = known[facts["subject"]]
            facts["age_band"] = age_band(facts["age"])
        elif known:
            facts.setdefault("age", None)
        for name, value in {"path": path, **facts}.items():
            columns.setdefault(name, []).append(value)
    warn_unsupported(root)
    if strange:
        raise dataset.odd(
            f"holds {len(strange):,} images that are not named like {example} "
            f"({some_of(strange)}): rename them, move them away, or list the images in a "
            "labels.csv (path,label,subject) and read that",
            root,
        )
    if not columns:
        raise dataset.expected(f"{IMAGES} named like {example}", root)
    return columns


_CAFE_WORDS: Final = "|".join(sorted(EXPRESSION_WORDS, key=len, reverse=True))
_CAFE: Final = re.compile(
    rf"(\d+)[-_]({_CAFE_WORDS})(open)?_([FM])-([A-Z]{{2}})-(\d+)\.\w+", re.IGNORECASE
)


def _cafe_facts(path: str) -> Facts | None:
    match = _CAFE.fullmatch(os.path.basename(path))
    if not match:
        return None
    _, word, mouth, sex, group, child = match.groups()
    return {
        "label": expression_of(word),
        "subject": f"{sex}-{group}-{child}".upper(),
        "age_band": age_band(2, 8),
        "mouth": "open" if mouth else "closed",
        "sex": {"F": "female", "M": "male"}[sex.upper()],
        "ethnicity": group.upper(),
    }


def _read_cafe(
    dataset: Dataset, root: Path, *, ages: str | os.PathLike[str] | None = None
) -> Manifest:
    return dataset.build(
        root, named_columns(dataset, root, _cafe_facts, "10541-happy_F-EA-14.jpg", ages)
    )


CAFE = Dataset(
    name="cafe",
    title="CAFE",
    layout="""
        CAFE/
          sessions/6401/10541-happy_F-EA-14.jpg       in any folder: image number, expression
          sessions/6402/10542-angryopen_M-AA-03.jpg   (with "open" for an open mouth), then the
                                                      child: sex, ethnic group, number
    """,
    basis=(
        "File names in public code that reads the Databrary download (volume 30); the seven words "
        "and the open and closed mouths from the paper (LoBue & Thrasher 2015). Not checked "
        "against the dataset. The file names seen do not contain the age (2 to 8 years, so the "
        "age band is uncertain). Give ages, a CSV file with subject and age made from the "
        "dataset's own spreadsheet."
    ),
    license=(
        "For researchers authorized by Databrary (https://databrary.org/volume/30). The "
        "photographs are copyrighted and may not be published, not even in journals or books. "
        "They show children."
    ),
    looks_like=lambda path: named_like(path, _CAFE),
    reader=_read_cafe,
)

_NIMH: Final = re.compile(r"([FM])(\d{2})([AFHNS])([A-Z])_?(\d+)\.\w+", re.IGNORECASE)
_NIMH_CODES: Final = {
    "A": "angry",
    "F": "fearful",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
}


def _nimh_facts(path: str) -> Facts | None:
    match = _NIMH.fullmatch(os.path.basename(path))
    if not match:
        return None
    sex, child, code, gaze, _ = match.groups()
    return {
        "label": expression_of(_NIMH_CODES[code.upper()]),
        "subject": f"{sex}{child}".upper(),
        "age_band": age_band(10, 17),
        "gaze": "direct" if gaze.upper() == "S" else "averted",
        "sex": {"F": "female", "M": "male"}[sex.upper()],
    }


def _read_nimh(
    dataset: Dataset, root: Path, *, ages: str | os.PathLike[str] | None = None
) -> Manifest:
    return dataset.build(root, named_columns(dataset, root, _nimh_facts, "M10HS_6767.jpg", ages))


NIMH_CHEFS = Dataset(
    name="nimh-chefs",
    title="NIMH-ChEFS",
    layout="""
        NIMH-ChEFS/
          M10HS_6767.jpg     in any folder: sex, child, expression (A angry, F fearful, H happy,
          F12NS_4986.jpg     N neutral, S sad), gaze (S straight, any other letter averted), number
    """,
    basis=(
        "Thirty file names of happy, neutral and sad images in public code, and the paper (Egger "
        "et al. 2011, doi 10.1002/mpr.343) for the five expressions and two gaze directions. The "
        "letters for anger, fear and averted gaze are our interpretation. Not checked against the "
        "dataset. The children are 10 to 17 years old: the age band is uncertain unless ages "
        "gives a CSV file with subject and age."
    ),
    license=(
        "Provided to researchers by Duke University. Its web page lists the image sets but not "
        "the terms; ask for them "
        "(https://psychiatry.duke.edu/research/research-programs-areas/assessment-interve"
        "ntion/developmental-epidemiology-instruments-6). "
        "It shows children."
    ),
    looks_like=lambda path: named_like(path, _NIMH),
    reader=_read_nimh,
)

_DARTMOUTH_SUBJECT: Final = re.compile(r"(?<![^\W_])S0*(\d{1,3})(?![^\W_])", re.IGNORECASE)


def _dartmouth_facts(path: str) -> Facts | None:
    who = _DARTMOUTH_SUBJECT.search(path)
    name = os.path.basename(path)
    shown = expressions_in(name, more=("content", "pleased"))
    shown = shown or expressions_in(path, more=("content", "pleased"))
    if who is None or len(shown) != 1:
        return None
    return {"label": shown[0], "subject": f"S{who.group(1)}", "age_band": age_band(6, 16)}


def _looks_like_dartmouth(path: Path) -> bool:
    named = bears_name(path, "dartmouth") or bears_name(path, "ddcf")
    return named and bool(first_files(path, 1))


def _read_dartmouth(
    dataset: Dataset,
    root: Path,
    *,
    ages: str | os.PathLike[str] | None = None,
    only_expressions: bool = False,
) -> Manifest:
    columns = named_columns(dataset, root, _dartmouth_facts, "S11_happy_front.jpg", ages)
    return dataset.build(root, columns, only_expressions=only_expressions)


DARTMOUTH = Dataset(
    name="dartmouth",
    title="Dartmouth Database of Children's Faces",
    layout="""
        dartmouth/                     found by this name or DDCF; otherwise use --kind
          S11_happy_front.jpg          the child (S and a number) and one word for the expression,
          S11/S11_angry_left30.jpg     in the file's name or its folders'; the rest is arbitrary
    """,
    basis=(
        "The paper (Dalrymple, Gomez & Duchaine 2013, doi 10.1371/journal.pone.0079131): 80 "
        "children of 6 to 16 years, eight expressions, five angles. Subjects named S and a number "
        "occur in public code, but the file names are not public, so this layout is an "
        'assumption, not checked against the dataset. "Content" and "pleased" remain classes of '
        "their own."
    ),
    license=(
        "Free for research, by email from its authors, who state what else is allowed "
        "(https://doi.org/10.1371/journal.pone.0079131). It shows children."
    ),
    looks_like=_looks_like_dartmouth,
    reader=_read_dartmouth,
)

_TROMSO: Final = re.compile(
    r"(A\d{2})([FM])(\d{1,2})-([A-Za-z]+)-(\d+)((?:[A-Z]{2})(?:-[A-Z]{2})*)\.\w+"
)
_TROMSO_CODES: Final = {
    "AF": "afraid",
    "AN": "angry",
    "DI": "disgusted",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SC": "scared",
    "SU": "surprised",
}


def _tromso_facts(path: str) -> Facts | None:
    match = _TROMSO.fullmatch(os.path.basename(path))
    codes = match.group(6).split("-") if match else []
    if not match or any(code not in _TROMSO_CODES for code in codes):
        return None
    months = int(match.group(3))
    return {
        "label": expression_of(_TROMSO_CODES[codes[0]]),
        "subject": match.group(1),
        "age": months / 12,
        "age_band": age_band(months / 12),
        "codes": match.group(6),
        "permission": match.group(4).upper(),
    }


def _read_tromso(dataset: Dataset, root: Path) -> Manifest:
    return dataset.build(root, named_columns(dataset, root, _tromso_facts, "A02F10-JTP-4281AN.jpg"))


TROMSO = Dataset(
    name="tromso",
    title="Tromsø Infant Faces",
    layout="""
        tif_images/
          A02/A02F10-JTP-4281AN.jpg      in any folder: infant, sex, age in months, permission,
          A08M12-JTPC-5426AF-SA-AN.jpg   number, what raters saw, most frequent first:
                                         AF and SC fear, AN, DI, HA, NE, SA, SU
    """,
    basis=(
        "The 130 file names, with the dataset's own majority labels, listed in a public "
        "repository (the first code is this label in all of them), and the paper (Maack et al. "
        "2017, doi 10.3389/fpsyg.2017.00409). Not checked against the images."
    ),
    license=(
        "Free for academics who ask the authors (https://uit.no/project/norbaby/database). The "
        "part of each file name after the age (JTP, NONE, …), kept in the column permission, may "
        "state what the parents agreed to: ask the owners before you show an image. It shows "
        "babies."
    ),
    looks_like=lambda path: named_like(path, _TROMSO),
    reader=_read_tromso,
)
