"""Who is who: naming, joining and dividing faces keeps every row and invents none."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.timeline import RawRow, Timeline, build_timeline, read_timeline
from moppet.timeline.annotations import read_annotated
from moppet.timeline.people import (
    People,
    Person,
    Piece,
    forget_face,
    join_faces,
    name_face,
    name_people,
    original_faces,
    people_of,
    people_path,
    read_people,
    split_face,
)
from moppet.timeline.summary import summary_csv, summary_rows
from moppet.values import EXPRESSIONS, GROUPS, TimelineError, UsageError

FPS = 10


def timeline(*faces: tuple[int, float, float], seconds: float = 20.0) -> Timeline:
    """10 frames a second; each face: id, from and until when it is seen."""
    rng = np.random.default_rng(1)
    rows: list[RawRow] = []
    for i in range(int(seconds * FPS)):
        t = i / FPS
        here = [face for face, start, end in faces if start <= t < end]
        for face in here or [None]:
            row: dict[str, Any] = {"frame": i, "time_s": t, "status": "no_face", "face_id": face}
            if face is not None:
                p = rng.dirichlet(np.ones(7)).astype(np.float32)
                row |= {"status": "ok", "p": p, "quality": 0.9, "detection_score": 0.9}
            rows.append(row)  # type: ignore[arg-type]
    metadata = {"duration_s": seconds, "source_name": "visit1.mp4", "complete": True}
    return build_timeline(rows, names=EXPRESSIONS, group_of=GROUPS, metadata=metadata)


TWO = timeline((0, 0, 6), (1, 8, 14), (2, 4, 16))
MIA = Person("Mia", "child", (Piece(0), Piece(1)))
ANN = Person("Ann", "caregiver", (Piece(2),))


def test_a_person_has_the_rows_of_all_its_faces_and_nobody_else_changes() -> None:
    named = name_people(TWO, People((MIA,)))
    before, after = TWO.to_pandas(), named.to_pandas()
    assert len(before) == len(after)
    mine = before.face_id.isin([0, 1])
    columns = [c for c in before if c.startswith("p_")]
    assert np.array_equal(after[after.face_id == 0][columns], before[mine][columns])
    other = [c for c in before if c != "face_id"]
    assert before[before.face_id == 2][other].equals(after[after.face_id == 2][other])
    assert set(after.face_id.dropna()) == {0, 2}
    assert (named.face_name(0), named.face_name(2)) == ("Mia", "face 2")
    assert named.metadata["people"] == {"0": {"name": "Mia", "role": "child", "faces": [0, 1]}}


def test_naming_alone_changes_no_value() -> None:
    named = name_people(TWO, People((Person("Ann", None, (Piece(2),)),)))
    assert named.table.equals(TWO.table)


def test_a_split_face_is_two_people_and_is_not_smoothed_across_the_split() -> None:
    halves = People((Person("a", None, (Piece(2, 0, 10),)), Person("b", None, (Piece(2, 10),))))
    named = name_people(TWO, halves)
    first, second = (named.to_pandas().query("face_id == @i") for i in (2, 3))
    assert first.time_s.max() < 10 <= second.time_s.min()
    alone = timeline((2, 10, 16))  # the same rows, from 10 s on, with nobody before
    rows = TWO.to_pandas().query("face_id == 2 and time_s >= 10")
    cut = build_timeline(
        [
            {
                "frame": int(r.frame),
                "time_s": r.time_s,
                "status": r.status,
                "face_id": 2,
                "quality": r.quality,
                "p": [getattr(r, f"p_{n}") for n in EXPRESSIONS],
            }
            for r in rows.itertuples()
        ],
        names=EXPRESSIONS,
        group_of=GROUPS,
    ).to_pandas()
    assert alone.names == EXPRESSIONS
    for name in EXPRESSIONS:
        assert np.allclose(second[f"s_{name}"], cut[f"s_{name}"], atol=1e-6)


@pytest.mark.parametrize(
    ("persons", "said"),
    [
        ([Person("Mia", None, (Piece(0), Piece(2)))], "both appear at 4.00 s"),
        ([MIA, Person("Ann", None, (Piece(1, 9, 10),))], "is already Mia, not Ann"),
        ([Person("Mia", None, (Piece(7),))], "face 7 does not appear"),
        ([Person("Mia", None, (Piece(0, 15),))], "face 0 does not appear"),
    ],
)
def test_people_that_cannot_be_are_refused(persons: list[Person], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        name_people(TWO, People(tuple(persons)))


@pytest.mark.parametrize(
    ("persons", "said"),
    [
        ([MIA, Person("Mia", None, (Piece(2),))], "Two people are called 'Mia'"),
        ([Person("", None, (Piece(0),))], "1 to 60"),
        ([Person("a\nb", None, (Piece(0),))], "printable"),
        ([Person("Mia", "king", (Piece(0),))], "child, caregiver, other"),
        ([Person("Mia", None, ())], "has no face"),
        ([Person("Mia", None, (Piece(0, 5, 5),))], "before its end"),
        ([Person("Mia", None, (Piece(0, float("nan")),))], "must start at 0 s or later"),
    ],
)
def test_a_layer_that_is_none_is_refused(persons: list[Person], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        People(tuple(persons))


def test_the_layer_comes_back_as_it_was_written(tmp_path: Path) -> None:
    people = People((MIA, Person("Ann", "caregiver", (Piece(2, 1.5, 9.25),))))
    assert read_people(people.write(tmp_path / "a.people.json")) == people
    assert list(tmp_path.iterdir()) == [tmp_path / "a.people.json"]
    for odd in ("{", "[]", '{"persons": [{"name": 3, "pieces": []}]}', '{"persons": 3}'):
        (tmp_path / "odd.json").write_text(odd)
        with pytest.raises(TimelineError, match=r"odd\.json"):
            read_people(tmp_path / "odd.json")
    with pytest.raises(UsageError, match="face must be a whole number"):
        people_of({"persons": [{"name": "a", "pieces": [{"face": True}]}]})


def test_the_people_beside_a_timeline_are_used(tmp_path: Path) -> None:
    path = TWO.write(tmp_path / "timeline.parquet")
    assert read_annotated(path).timeline == read_timeline(path)
    People((MIA,)).write(people_path(path))
    assert read_annotated(path).timeline.face_name(0) == "Mia"
    other = People((ANN,)).write(tmp_path / "other.json")
    assert read_annotated(path, other).timeline.face_name(2) == "Ann"
    with pytest.raises(TimelineError, match=r"nobody\.json"):
        read_annotated(path, tmp_path / "nobody.json")


# ----------------------------------------------------------------------------- by hand


def test_edits_name_join_split_and_forget() -> None:
    people = name_face(TWO, People(), 0, "  Mia ", "child")
    people = join_faces(TWO, people, 1, 0)
    assert people == People((Person("Mia", "child", (Piece(0), Piece(1))),))
    people = split_face(TWO, people, 0, 10.0)
    assert [p.name for p in people.persons] == ["Mia", "Mia (2)"]
    assert people.persons[0].pieces == (Piece(0, 0, 10), Piece(1, 0, 10))
    assert people.persons[1].pieces == (Piece(1, 10),)
    named = name_people(TWO, people)
    assert {i: named.face_name(i) for i in (0, 1, 2)} == {0: "Mia", 1: "Mia (2)", 2: "face 2"}
    assert forget_face(TWO, people, 1).persons == people.persons[:1]
    back = join_faces(TWO, people, 1, 0)
    assert name_people(TWO, back).table.equals(
        name_people(TWO, People((Person("Mia", "child", (Piece(0), Piece(1))),))).table
    )


def test_what_nobody_claims_of_a_face_can_be_named_too() -> None:
    people = People((Person("a", None, (Piece(2, 6, 8),)),))
    named = name_people(TWO, people)
    assert named.face_name(2) == "face 2" and named.face_name(3) == "a"
    more = name_face(TWO, people, 2, "b", None)
    assert more.persons[1].pieces == (Piece(2, 0, 6), Piece(2, 8))
    assert name_people(TWO, more).face_name(2) == "b"
    assert original_faces(TWO, more, 2, 5, 9) == [(2, 5.0, 6), (2, 8, 9.0)]
    assert original_faces(TWO, more, 3, 5, 9) == [(2, 6, 8)]
    assert original_faces(TWO, more, 3, 0, 5) == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda: join_faces(TWO, People(), 0, 2), "both appear at 4.00 s"),
        (lambda: join_faces(TWO, People(), 0, 0), "with itself"),
        (lambda: join_faces(TWO, People(), 9, 0), "no face 9"),
        (lambda: split_face(TWO, People(), 0, 7.0), "only before 7.00 s"),
        (lambda: split_face(TWO, People(), 1, 7.0), "only after 7.00 s"),
        (lambda: forget_face(TWO, People(), 0), "has no name"),
        (lambda: name_face(TWO, People(), 0, " ", None), "1 to 60"),
        (lambda: name_face(TWO, People((ANN,)), 0, "Ann", None), "Two people are called"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(edit: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        edit()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["name", "join", "split", "forget"]),
            st.integers(0, 4),
            st.integers(0, 4),
            st.floats(0, 20),
        ),
        max_size=6,
    )
)
def test_no_edit_ever_loses_a_row(edits: list[tuple[str, int, int, float]]) -> None:
    people = People()
    for number, (kind, face, into, at_s) in enumerate(edits):
        try:
            if kind == "name":
                people = name_face(TWO, people, face, f"person {number}", None)
            elif kind == "join":
                people = join_faces(TWO, people, face, into)
            elif kind == "split":
                people = split_face(TWO, people, face, at_s)
            else:
                people = forget_face(TWO, people, face)
        except UsageError:
            continue
    named = name_people(TWO, people)
    before, after = TWO.to_pandas(), named.to_pandas()
    columns = ["frame", *(c for c in before if c.startswith("p_"))]
    order = ["frame", "p_neutral"]
    assert np.array_equal(
        before.sort_values(order)[columns], after.sort_values(order)[columns], equal_nan=True
    )
    assert named.summary()["faces"]["all"]["time_s"] == pytest.approx(
        TWO.summary()["faces"]["all"]["time_s"]
    )


# ----------------------------------------------------------------------------- the summary


def test_the_summary_has_a_row_for_each_role() -> None:
    named = name_people(TWO, People((MIA, Person("Tom", "child", (Piece(2, 0, 7),)))))
    summary = named.summary()
    assert summary["roles"]["child"]["people"] == ["Mia", "Tom"]
    faces = summary["faces"]
    ids = {faces[i].get("name"): i for i in faces if i != "all"}
    assert faces[ids["Mia"]]["role"] == "child" and "people" not in faces[ids["Mia"]]
    both = sum(faces[ids[name]]["time_s"] for name in ("Mia", "Tom"))
    assert summary["roles"]["child"]["time_s"] == pytest.approx(both)
    assert summary["roles"]["unnamed"]["time_s"] == pytest.approx(9.0)
    rows = summary_rows(summary)
    assert [(r["role"], r["people"]) for r in rows] == [
        ("child", "Mia; Tom"),
        ("unnamed", "face 2"),
    ]
    shares = [r["happiness share"] for r in rows]
    assert shares[0] == summary["roles"]["child"]["expressions"]["happiness"]["share"]


def test_a_recording_without_names_has_one_row_of_all_its_faces() -> None:
    assert "roles" not in TWO.summary()
    (row,) = summary_rows(TWO.summary())
    assert row["role"] == "unnamed" and row["people"] == "" and row["recording"] == "visit1.mp4"
    assert row["time_s"] == TWO.summary()["faces"]["all"]["time_s"]


def test_the_table_is_a_csv_that_no_spreadsheet_runs() -> None:
    evil = name_people(TWO, People((Person("=1+1", "child", (Piece(0),)),)))
    text = summary_csv([evil.summary(), TWO.summary()])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["role"] for row in rows] == ["child", "unnamed", "unnamed"]
    assert rows[0]["people"] == "'=1+1"
    assert float(rows[2]["time_s"]) == pytest.approx(TWO.summary()["faces"]["all"]["time_s"])
