"""What people set right lies beside the machine's timeline, with who and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moppet.coders import read_coding, write_program
from moppet.coders.codings import Code
from moppet.coders.comparison import Coder, Job, compare_files
from moppet.coders.timeline_coding import coding_of, corrected_lanes
from moppet.timeline.annotations import (
    Correction,
    add_correction,
    corrections_path,
    read_corrections,
    undo_correction,
)
from moppet.timeline.people import People, Person, Piece
from moppet.values import TimelineError, UsageError
from test_timeline_people import TWO

AT = "2026-11-21T10:00:00+00:00"


def correction(number: int, face: int, start: float, end: float, label: str) -> Correction:
    return Correction(number, face, start, end, label, "AB", AT)


def test_a_file_keeps_what_was_said_and_what_was_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "timeline.corrections.jsonl"
    first = add_correction(path, face_id=0, start_s=1.0, end_s=2.5, label="sadness", by="AB", at=AT)
    second = add_correction(path, face_id=1, start_s=9.0, end_s=9.1, label="fear", by="Zoë", at=AT)
    assert (first.number, second.number) == (1, 2)
    undo_correction(path, 1, by="CD", at=AT)
    assert read_corrections(path) == [second]
    third = add_correction(path, face_id=0, start_s=1, end_s=2, label="fear", by="AB", at=AT)
    assert third.number == 3 and read_corrections(path) == [second, third]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line.get("number") for line in lines] == [1, 2, None, 3]
    assert lines[2] == {"back": 1, "by": "CD", "at": AT}
    with pytest.raises(UsageError, match="no correction 1"):
        undo_correction(path, 1, by="CD", at=AT)


def test_a_line_that_a_kill_has_torn_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "timeline.corrections.jsonl"
    kept = add_correction(path, face_id=0, start_s=1, end_s=2, label="fear", by="AB", at=AT)
    with path.open("ab") as file:
        file.write('{"number": 2, "face_id": 0, "start_s": 1.0, "by": "Zo\u00eb'.encode()[:-1])
    assert read_corrections(path) == [kept]
    after = add_correction(path, face_id=0, start_s=3, end_s=4, label="fear", by="AB", at=AT)
    assert read_corrections(path) == [kept, after]


@pytest.mark.parametrize(
    ("start", "end", "label", "by", "said"),
    [
        (2.0, 2.0, "fear", "AB", "end after its start"),
        (-1.0, 2.0, "fear", "AB", "start at 0 s or later"),
        (0.0, float("inf"), "fear", "AB", "end after its start"),
        (0.0, 1.0, " ", "AB", "label must have 1 to 60"),
        (0.0, 1.0, "fear", "A\nB", "coder's name must have 1 to 60"),
    ],
)
def test_a_correction_that_is_none_is_refused_and_nothing_is_written(
    tmp_path: Path, start: float, end: float, label: str, by: str, said: str
) -> None:
    path = tmp_path / "timeline.corrections.jsonl"
    with pytest.raises(UsageError, match=said):
        add_correction(path, face_id=0, start_s=start, end_s=end, label=label, by=by, at=AT)
    assert not path.exists()


def test_another_file_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.corrections.jsonl"
    for content in ('{"a": 1}\n', "no\n", "[]\n"):
        path.write_text(content)
        with pytest.raises(TimelineError, match="Line 1 of"):
            read_corrections(path)


def test_of_one_coder_the_later_word_holds() -> None:
    said = [
        correction(1, 0, 1, 5, "fear"),
        correction(2, 0, 2, 3, "anger"),
        correction(3, 0, 4, 6, "sadness"),
    ]
    (lane,) = corrected_lanes(said)
    assert (lane.person, lane.name) == ("face 0", "corrected by AB")
    assert lane.codes == (
        Code(1, 2, "fear"),
        Code(2, 3, "anger"),
        Code(3, 4, "fear"),
        Code(4, 6, "sadness"),
    )


def test_a_correction_follows_its_face_to_whoever_it_is() -> None:
    people = People((Person("a", None, (Piece(2, 0, 6),)), Person("b", None, (Piece(2, 7),))))
    lanes = corrected_lanes([correction(1, 2, 5, 8, "fear")], people)
    assert {lane.person: lane.codes for lane in lanes} == {
        "a": (Code(5, 6, "fear"),),
        "b": (Code(7, 8, "fear"),),
        "face 2": (Code(6, 7, "fear"),),
    }


@pytest.mark.parametrize("program", ["elan", "datavyu", "textgrid", "boris"])
def test_corrections_reach_the_coders_programs(tmp_path: Path, program: str) -> None:
    lanes = corrected_lanes([correction(1, 0, 1, 2.5, "sadness")])
    coding = coding_of(TWO, probabilities_s=0, corrected=lanes)
    read = read_coding(write_program(coding, tmp_path, "visit1", program)[0])
    found = [lane for lane in read.lanes if "corrected" in lane.title.lower().replace("_", " ")]
    (only,) = [code for lane in found for code in lane.codes]
    assert (only.start_s, only.end_s, only.label.split(" (")[0]) == (1.0, 2.5, "sadness")


def test_the_agreement_counts_corrections_as_a_coder_s_codes(tmp_path: Path) -> None:
    path = TWO.write(tmp_path / "timeline.parquet")
    table = TWO.to_pandas().query("face_id == 0")
    start = float(table.time_s.iloc[0])
    shown = str(table.expression.iloc[0])
    said = corrections_path(path)
    add_correction(said, face_id=0, start_s=start, end_s=start + 0.1, label=shown, by="AB", at=AT)
    coder = Coder(said, ("face 0 corrected",))
    found = compare_files(Job(path, [coder], face="0", count=["unsure"]))
    (pair,) = found.as_json()["pairs"]
    agreement = pair["units"]["agreement"]
    assert (agreement["n"], agreement["value"]) == (1, 1.0)
