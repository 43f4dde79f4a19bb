"""A study's methods paragraph, and its layout as BIDS."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

import moppet as package
from cohort_sample import write_study
from command_line import Run
from moppet.cohort.methods import REFERENCES, describe_methods
from moppet.cohort.study_folder import read_study
from moppet.timeline.annotations import add_correction, corrections_path
from moppet.timeline.people import layer_origin


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    results, listed = write_study(folder, dyads=3, seconds=20)
    path = results / "c00" / "play" / "timeline.parquet"
    origin = layer_origin(package.read_timeline(path))
    own = {"source_sha256": origin["source_sha256"], "tracks_sha256": origin["tracks_sha256"]}
    fields = {"start_s": 1.0, "end_s": 3.0, "label": "anger", "by": "AB", "at": "2026"}
    add_correction(corrections_path(path), face_id=0, **fields, **own)
    package.gather(results, folder / "study", listed)
    return folder / "study"


def test_the_paragraph_has_what_the_study_holds(study: Path) -> None:
    text = describe_methods(read_study(study)).text
    for part in (
        "6 recordings of 3 participants",
        "(2:00 in all; median length 20.0 s)",
        "default (SHA-256 abababababab…)",
        "mtcnn [@zhang2016]",
        "a Gaussian of 0.25 s",
        "640 × 480",
        "1 coder corrected 2.0 s in 1 recording.",
        "A face was found in 100% of the time; in 0% of",
        "Agreement with human coders is missing",
    ):
        assert part in text, part
    assert "bootstrap" not in text and "None" not in text and "nan" not in text


def test_agreement_and_results_are_described_when_they_are_there(
    study: Path, moppet: Run, tmp_path: Path
) -> None:
    assert moppet("summarize", study, "--no-figures", "--by", "condition").code == 0
    given = ("--no-figures", "--surrogates", "2", "--label", "happiness")
    assert moppet("dyads", study, *given).code == 0
    reliability = tmp_path / "reliability.json"
    kappa = {"value": 0.712, "low": 0.6, "high": 0.8, "n": 3}
    pair = {"first": "coder 1", "second": "machine", "compared_s": 90.0, "recordings": 3}
    content = {"alpha": kappa, "pairs": [{**pair, "kappa": kappa}]}
    reliability.write_text(json.dumps(content))
    done = moppet("methods", study, "--agreement", reliability, "-o", tmp_path / "out")
    assert done.code == 0
    assert "Cohen's kappa of coder 1 and machine was 0.71 (95 % interval 0.60 to 0.80)" in done.out
    assert "windowed cross-correlation [@boker2002]" in done.out and "[@holm1979]" in done.out
    bibtex = (tmp_path / "out" / "methods.bib").read_text()
    text = (tmp_path / "out" / "methods.md").read_text()
    cited = set(re.findall(r"@(\w+)\]", text))
    assert cited == set(re.findall(r"^@\w+\{(\w+),", bibtex, re.M))
    assert cited == set(REFERENCES) - {"shrout1979"}
    assert f"version = {{{package.__version__}}}" in bibtex
    assert bibtex.count("{") == bibtex.count("}")


def test_a_file_that_is_no_agreement_is_refused(study: Path, moppet: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"pairs": [{}]}')
    done = moppet("methods", study, "--agreement", tmp_path / "a.json")
    assert done.code == 2 and "is not reliability.json or agreement.json" in done.err


def test_a_study_is_written_as_bids(study: Path, moppet: Run, tmp_path: Path) -> None:
    done = moppet("export", study, "--format", "bids", "-o", tmp_path / "bids")
    assert done.code == 0
    root = tmp_path / "bids"
    with (root / "participants.tsv").open(newline="") as file:
        people = list(csv.DictReader(file, delimiter="\t"))
    assert [p["participant_id"] for p in people] == ["sub-00", "sub-01", "sub-02"]
    assert people[1]["age_months"] == "13" and "condition" not in people[1]
    about = json.loads((root / "dataset_description.json").read_text())
    assert about["BIDSVersion"] and about["DatasetType"] == "derivative"
    stems = {p.name.rsplit("_", 1)[0] for p in root.rglob("*_events.tsv")}
    assert stems == {f"sub-0{i}_task-{c}" for i in range(3) for c in ("alone", "play")}
    place = root / "sub-00" / "beh"
    with (place / "sub-00_task-play_events.tsv").open(newline="") as file:
        events = list(csv.DictReader(file, delimiter="\t"))
    assert [*events[0]][:3] == ["onset", "duration", "trial_type"]
    assert any(e["trial_type"] == "anger" and e["person"] == "Child 0" for e in events)
    onsets = [float(event["onset"]) for event in events]
    assert onsets == sorted(onsets)
    sidecar = json.loads((place / "sub-00_task-play_video.json").read_text())
    assert sidecar["SourceName"] == "play.mp4" and sidecar["Duration"] == 20.0
    described = json.loads((place / "sub-00_task-play_events.json").read_text())
    assert set(described) == set(events[0])


def test_bids_takes_one_study(study: Path, moppet: Run, tmp_path: Path) -> None:
    done = moppet("export", study, study, "--format", "bids", "-o", tmp_path / "b")
    assert done.code == 2 and "takes one study" in done.err and not (tmp_path / "b").exists()
    done = moppet("export", tmp_path, "--format", "bids", "-o", tmp_path / "b")
    assert done.code == 2 and "is not a study" in done.err


def test_participants_of_one_label_are_refused_by_name(tmp_path: Path, moppet: Run) -> None:
    results, listed = write_study(tmp_path, dyads=2, seconds=5)
    text = listed.read_text().replace(",01,", ",0-0,")
    listed.write_text(text)
    package.gather(results, tmp_path / "study", listed)
    done = moppet("export", tmp_path / "study", "--format", "bids", "-o", tmp_path / "b")
    assert done.code == 2 and "would both be sub-00" in done.err
