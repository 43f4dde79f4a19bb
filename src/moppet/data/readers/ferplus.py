"""FER+: ten votes for each of FER2013's pictures, as published and as the project's .npz."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.data.arrays import read_arrays
from moppet.data.ferplus import read_ferplus
from moppet.data.manifest import Manifest
from moppet.data.readers.dataset import Columns, Dataset
from moppet.data.readers.fer2013 import NAMES, find_table, unpack
from moppet.data.readers.tables import number, read_table
from moppet.data.readers.tree import subfolders
from moppet.data.readers.words import class_of, split_of
from moppet.values import EXPRESSIONS, Floats, MoppetError

_VOTES: Final = "fer2013new.csv"
_FOLDERS: Final = {
    "Training": "FER2013Train",
    "PublicTest": "FER2013Valid",
    "PrivateTest": "FER2013Test",
}
_ABOVE: Final = ("", "images", "data", "Images")
_NOT_CLASSES: Final = ("unknown", "nf")
_RATERS: Final = 10
_LICENCE: Final = (
    "FER+'s votes are under the MIT licence (Microsoft). FER2013's pictures come from web searches "
    "and carry no licence from an owner, nor anybody's consent: learn from them, and do not pass "
    "them on."
)


def _winners(votes: Floats, names: list[str], kept: list[str]) -> list[str | None]:
    """The class with most of all votes; None for a tie or one that is not kept."""
    most = votes.max(axis=1, keepdims=True)
    unique = ((votes == most).sum(axis=1) == 1) & (most[:, 0] > 0)
    won = [names[i] for i in votes.argmax(axis=1)]
    return [n if one and n in kept else None for n, one in zip(won, unique.tolist(), strict=True)]


def _vote_columns(
    dataset: Dataset, table: Path, only_expressions: bool
) -> tuple[Columns, list[str]]:
    """Return name, usage, label, votes and weight of the rows that are pictures, and the classes.

    The row's number in FER2013 is `row`. Rows without a picture's name show no face.
    """
    header, rows = read_table(table, ["usage", "image name", *EXPRESSIONS])
    voted = [name for name in header if name in (*EXPRESSIONS, "contempt", *_NOT_CLASSES)]
    name_at, usage_at = header.index("image name"), header.index("usage")
    faces = [i for i, row in enumerate(rows) if row[name_at].strip()]
    cells = [
        [number(rows[i][header.index(name)], table, i, name) or 0 for name in voted] for i in faces
    ]
    votes = np.array(cells, np.float32).reshape(len(faces), len(voted))
    names = [name for name in voted if name in EXPRESSIONS]
    names += [] if only_expressions or "contempt" not in voted else ["contempt"]
    shares = votes[:, [voted.index(name) for name in names]]
    usages = [rows[i][usage_at].strip() for i in faces]
    odd = sorted(set(usages) - set(_FOLDERS))
    if odd:
        raise dataset.odd(f"has the usage {odd[0]!r}: it is one of {', '.join(_FOLDERS)}", table)
    columns: Columns = {
        "row": faces,
        "name": [rows[i][name_at].strip() for i in faces],
        "usage": usages,
        "label": _winners(votes, voted, names),
        "votes": list(shares),
        "weight": list(shares.sum(axis=1) / _RATERS),
    }
    return columns, names


def _looks_like_votes(path: Path) -> bool:
    has_folder = any((path / above / x).is_dir() for above in _ABOVE for x in _FOLDERS.values())
    return (path / _VOTES).is_file() and (has_folder or find_table(path) is not None)


def _read_votes(
    dataset: Dataset,
    root: Path,
    *,
    only_expressions: bool = True,
    images: str | os.PathLike[str] | None = None,
    allow_missing: bool = False,
) -> Manifest:
    table = dataset.file(root, _VOTES)
    columns, names = _vote_columns(dataset, table, only_expressions)
    source = find_table(root)
    if source is not None:
        there, place = _join_csv(dataset, columns, table, source, images)
    else:
        there, place = _join_pictures(dataset, root, columns, table, allow_missing)
    columns["split"] = [split_of(usage) for usage in columns.pop("usage")]
    del columns["row"]
    kept = {
        key: [value for value, keep in zip(values, there, strict=True) if keep]
        for key, values in columns.items()
    }
    kept["votes"] = np.array(kept["votes"], np.float32).reshape(-1, len(names))  # type: ignore[assignment]
    return dataset.build(place, kept, names=names)


def _join_csv(
    dataset: Dataset,
    columns: Columns,
    table: Path,
    source: Path,
    images: str | os.PathLike[str] | None,
) -> tuple[list[bool], Path]:
    fer = unpack(dataset, source, images)
    for row, usage in zip(columns["row"], columns["usage"], strict=True):
        if row >= len(fer.usages) or fer.usages[row] != usage:
            raise dataset.odd(
                f"and {source.name} do not belong together: row {row + 2} is {usage} in the one, "
                f"{fer.usages[row] if row < len(fer.usages) else 'missing'} in the other",
                table,
            )
    columns["path"] = [fer.path.name] * len(columns["row"])
    columns["array_row"] = list(columns["row"])
    columns["fer2013_label"] = [fer.labels[row] for row in columns["row"]]
    return [True] * len(columns["row"]), fer.path.parent


def _join_pictures(
    dataset: Dataset, root: Path, columns: Columns, table: Path, allow_missing: bool
) -> tuple[list[bool], Path]:
    found = [
        (root / above) if above else root
        for above in _ABOVE
        if any(folder.name in _FOLDERS.values() for folder in subfolders(root / above))
    ]
    if not found:
        wanted = f"{' or '.join(NAMES)}, or the folders {', '.join(_FOLDERS.values())},"
        raise dataset.expected(wanted, root)
    prefix = "" if found[0] == root else f"{found[0].name}/"
    columns["path"] = [
        f"{prefix}{_FOLDERS[usage]}/{name}"
        for usage, name in zip(columns["usage"], columns["name"], strict=True)
    ]
    return dataset.present(root, columns["path"], table, allow_missing), root


FERPLUS = Dataset(
    name="ferplus",
    title="FER+",
    layout="""
        ferplus/
          fer2013new.csv              Usage,Image name,neutral,happiness,surprise,sadness,anger,
                                      disgust,fear,contempt,unknown,NF: ten votes a row
          fer2013.csv                 FER2013's own CSV (or icml_face_data.csv), same rows; or
          FER2013Train/  fer0000000.png, …
          FER2013Valid/  fer0028638.png, …     also below images/ or data/
          FER2013Test/   fer0032220.png, …
    """,
    basis="github.com/microsoft/FERPlus (its README and the answer in its issue 5: rows without an "
    "image name show no face). The votes are the same as in the project's own .npz, which was "
    "at hand; the CSV was not.",
    licence=_LICENCE,
    looks_like=_looks_like_votes,
    reader=_read_votes,
)

_ARRAYS: Final = {"images", "votes", "vote_names", "split", "dup_group", "age_band"}
_BANDS: Final = {0: "infant", 1: "child", 2: "adult", 3: "uncertain", -1: None}


def _archive_of(path: Path) -> Path | None:
    if not path.is_dir():
        return path if path.suffix.lower() == ".npz" else None
    found = [file for file in path.glob("*.npz") if file.name[0] != "."]
    return found[0] if len(found) == 1 else None


def _looks_like_archive(path: Path) -> bool:
    place = _archive_of(path)
    if place is None or not zipfile.is_zipfile(place):
        return False
    try:
        with zipfile.ZipFile(place) as archive:
            return {f"{name}.npy" for name in _ARRAYS} <= set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def _read_archive(
    dataset: Dataset, root: Path, *, keep_leaks: bool = False, seed: int = 0
) -> Manifest:
    place = _archive_of(root)
    if place is None:
        raise dataset.expected("one .npz", root)
    data = read_ferplus(place, seed=seed)
    rows = np.arange(len(data.part)) if keep_leaks else np.flatnonzero(data.part != "")
    labels: NDArray[Any] = np.array([*EXPRESSIONS, None], object)[data.label[rows]]
    columns: dict[str, Any] = {
        "path": [place.name] * len(rows),
        "array_row": rows,
        "label": labels.tolist(),
        "votes": data.votes[rows],
        "weight": data.weights[rows],
        "age_band": [_BANDS[band] for band in data.age_band[rows].tolist()],
        "split": [part or "train" for part in data.part[rows].tolist()],
        "duplicate_group": data.group[rows],
        **_more(place, rows),
    }
    return dataset.build(place.parent, columns, names=EXPRESSIONS)


def _more(place: Path, rows: NDArray[np.intp]) -> dict[str, list[Any]]:
    """What the file says besides, where it does."""
    found = read_arrays(place, (), ("name", "leaks_into_split1", "fer2013_label", "label_names"))
    words = [class_of(str(name)) for name in found.pop("label_names", np.empty(0)).ravel()]
    try:
        if "fer2013_label" in found:
            found["fer2013_label"] = np.array(words)[found["fer2013_label"]]
        return {key: values[rows].tolist() for key, values in found.items()}
    except IndexError:
        raise MoppetError(
            f"{place} is not FER+: {', '.join(found)} do not fit its rows or label_names."
        ) from None


FERPLUS_NPZ = Dataset(
    name="ferplus-npz",
    title="FER+ in one .npz",
    layout="""
        ferplus_dev.npz, or a folder with one such file:
          images (n, 48, 48) · votes (n, 10) · vote_names · split (0 training, 1 report)
          leaks_into_split1 · dup_group · near_dup_group · age_band (0 infant, 1 child,
          2 not a child, 3 uncertain, -1 not looked at)
    """,
    basis="The project's own file, read whole in development: 31,356 rows.",
    licence=_LICENCE,
    looks_like=_looks_like_archive,
    reader=_read_archive,
)
