"""A study in the layout of BIDS: participants.tsv, and a folder of behavior for each one.

Brain Imaging Data Structure (Gorgolewski et al. 2016, Scientific Data 3, 160044). The recordings
themselves are not copied: the side-car of each names its file and hash.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import moppet
from moppet.cohort.statistics import cluster
from moppet.cohort.study_folder import EPISODES, StudyFolder
from moppet.files import csv_text, write_text
from moppet.values import UsageError

VERSION: Final = "1.10.0"
_EVENTS: Final = ("onset", "duration", "trial_type", "kind", "person", "role", "mean")
_NOTHING: Final = "n/a"
_DESCRIPTIONS: Final = {
    "onset": {"Description": "Start of the episode", "Units": "s"},
    "duration": {"Description": "Length of the episode", "Units": "s"},
    "trial_type": {"Description": "Expression, group, facial movement or blink"},
    "kind": {"Description": "What trial_type is: expression, group, movement or blink"},
    "person": {"Description": "Name of the person, or number of an unnamed face"},
    "role": {"Description": "Role of the person: child, caregiver, other, unnamed"},
    "mean": {"Description": "Mean smoothed probability, or intensity of a movement, 0 to 1"},
}


def write_bids(study: StudyFolder, folder: Path) -> list[Path]:
    """Write a study as a BIDS dataset of derivatives; return the paths.

    Subjects are participants, or recordings without one; the columns `session` and `task`, or
    `condition`, become entities; recordings that would have one name are numbered as runs.
    Episodes are those after the corrections where there are any.
    Raises UsageError if two participants would have one label.
    """
    records = study.recordings
    subjects = {str(cluster({"recording": r["recording"], **r["info"]})): None for r in records}
    labels = _labels(subjects)
    written = [
        _write_json(folder / "dataset_description.json", _dataset(study)),
        _write_participants(folder, study, labels),
        _write_json(folder / "participants.json", {c: {} for c in _constant(study)}),
    ]
    names = _names(study, labels)
    episodes = _episodes(study)
    for record in records:
        stem = folder / names[str(record["recording"])]
        rows = episodes.get(str(record["recording"]), [])
        text = csv_text(_EVENTS, rows).replace("\t", " ")
        table = [row for row in csv.reader(text.splitlines())]
        lines = ("\t".join(cell or _NOTHING for cell in row) for row in table)
        written.append(write_text(Path(f"{stem}_events.tsv"), "\n".join(lines) + "\n"))
        written.append(_write_json(Path(f"{stem}_events.json"), _DESCRIPTIONS))
        written.append(_write_json(Path(f"{stem}_video.json"), _video(record)))
    return written


def _labels(subjects: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in subjects:
        label = re.sub(r"[^0-9A-Za-z]", "", name) or "x"
        if label in found.values():
            raise UsageError(
                f"Two participants would both be sub-{label}: BIDS keeps letters and digits only, "
                "so rename one of them in the list of recordings."
            )
        found[name] = label
    return found


def _names(study: StudyFolder, labels: Mapping[str, str]) -> dict[str, str]:
    """Return recording → path below the dataset, without the suffix."""
    stems: dict[str, list[str]] = {}
    for record in study.recordings:
        info = record["info"]
        subject = labels[str(cluster({"recording": record["recording"], **info}))]
        session = _entity(info.get("session"))
        task = _entity(info.get("task", info.get("condition"))) or "recording"
        middle = f"_ses-{session}" if session else ""
        place = f"sub-{subject}/ses-{session}/beh" if session else f"sub-{subject}/beh"
        stem = f"{place}/sub-{subject}{middle}_task-{task}"
        stems.setdefault(stem, []).append(str(record["recording"]))
    return {
        name: stem if len(group) == 1 else f"{stem}_run-{number}"
        for stem, group in stems.items()
        for number, name in enumerate(group, start=1)
    }


def _entity(value: Any) -> str:
    return "" if value is None else re.sub(r"[^0-9A-Za-z]", "", str(value))


def _constant(study: StudyFolder) -> list[str]:
    """Return the columns that have one value in all recordings of every participant."""
    found = []
    for column in study.info_columns[1:]:
        seen: dict[Any, set[Any]] = {}
        for record in study.recordings:
            who = cluster({"recording": record["recording"], **record["info"]})
            seen.setdefault(who, set()).add(record["info"].get(column))
        if all(len(values) == 1 for values in seen.values()):
            found.append(column)
    return found


def _write_participants(folder: Path, study: StudyFolder, labels: Mapping[str, str]) -> Path:
    columns = _constant(study)
    rows: dict[str, list[str]] = {}
    for record in study.recordings:
        who = str(cluster({"recording": record["recording"], **record["info"]}))
        cells = [str(record["info"].get(column, _NOTHING)) for column in columns]
        rows.setdefault(labels[who], [f"sub-{labels[who]}", *cells])
    lines = ["\t".join(["participant_id", *columns]), *("\t".join(row) for row in rows.values())]
    return write_text(folder / "participants.tsv", "\n".join(lines) + "\n")


def _episodes(study: StudyFolder) -> dict[str, list[Sequence[str]]]:
    corrected = study.folder / "episodes_corrected.csv"
    path = corrected if corrected.is_file() else study.folder / EPISODES
    found: dict[str, list[Sequence[str]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                cells = [row[name] for name in ("start_s", "duration_s", "label", "kind")]
                cells += [row[name] for name in ("person", "role", "mean")]
                found.setdefault(row["recording"], []).append(cells)
    except (OSError, KeyError, csv.Error):
        raise UsageError(f"{path} cannot be read: run moppet gather again.") from None
    return found


def _dataset(study: StudyFolder) -> Mapping[str, Any]:
    return {
        "Name": study.folder.resolve().name,
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "moppet", "Version": moppet.__version__}],
    }


def _video(record: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = ("model_name", "model_sha256", "detector", "moppet_version", "settings", "info")
    return {
        "Description": "Recording that was analyzed; it is not part of this dataset",
        "SourceName": record.get("source_name"),
        "SourceSHA256": record.get("source_sha256"),
        "Duration": record.get("duration_s"),
        "Width": record.get("width"),
        "Height": record.get("height"),
        "FrameCount": record.get("frames"),
        **{"".join(w.capitalize() for w in name.split("_")): record.get(name) for name in kept},
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> Path:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)
    return write_text(path, text + "\n")
