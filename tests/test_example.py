"""The example video, read by the bundled model as `make demo` reads it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import moppet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def timeline():
    return moppet.analyze(ROOT / "examples" / "child.mp4")


@pytest.fixture(scope="module")
def truth():
    with (ROOT / "examples" / "child_truth.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_frame_has_its_row_at_its_time(timeline, truth):
    table = timeline.table
    assert table["frame"].to_pylist() == [int(row["frame"]) for row in truth]
    expected = [float(row["time_s"]) for row in truth]
    assert table["time_s"].to_pylist() == pytest.approx(expected, abs=1e-5)


def test_a_face_is_found_where_somebody_is_and_nowhere_else(timeline, truth):
    found = [face_id is not None for face_id in timeline.table["face_id"].to_pylist()]
    assert found == [bool(row["person"]) for row in truth]


def test_the_two_children_are_two_people(timeline, truth):
    ids = timeline.table["face_id"].to_pylist()
    by_person = {
        person: {i for i, row in zip(ids, truth, strict=True) if row["person"] == person}
        for person in ("A", "B")
    }
    assert all(len(numbers) == 1 for numbers in by_person.values())
    assert by_person["A"] != by_person["B"]


def test_plain_expressions_are_read_as_they_were_rendered(timeline, truth):
    read = timeline.table["expression"].to_pylist()
    for name in ("neutral", "happiness", "surprise"):
        held = [
            got == name
            for got, row in zip(read, truth, strict=True)
            if row["held"] == "1" and row["expression"] == name
        ]
        assert sum(held) / len(held) > 0.9, name


def test_the_committed_agreement_is_of_the_bundled_model(timeline):
    path = ROOT / "benchmarks" / "results" / "example_agreement.json"
    committed = json.loads(path.read_text(encoding="utf-8"))
    assert committed["model_sha256"] == timeline.metadata["model_sha256"]
