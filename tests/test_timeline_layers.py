"""Layers belong to their recording, and corrections count apart from the model's figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moppet.coders.comparison import Coder, Job, compare_files
from moppet.pages.report import write_report
from moppet.timeline import (
    Timeline,
    TimelineSettings,
    build_timeline,
    downsample,
    formats,
    read_timeline,
    summary_lines,
)
from moppet.timeline.annotations import (
    add_correction,
    annotate,
    corrections_path,
    read_annotated,
    read_corrections,
)
from moppet.timeline.people import (
    People,
    Person,
    Piece,
    layer_origin,
    people_path,
    read_people,
)
from moppet.timeline.summary import summary_csv, summary_rows
from moppet.timeline.table import read_thinned
from moppet.values import EXPRESSIONS, GROUPS, TimelineError, UsageError
from page_text import text_of
from report_samples import make_row, make_timeline, two_people

AT = "2026-11-21T10:00:00+00:00"
RAW = TimelineSettings(smooth_s=0, min_episode_s=0)
MINE, OTHER = "cd" * 32, "ef" * 32


def correct(path: Path, start_s: float, end_s: float, label: str, **more: Any) -> None:
    given = {"face_id": 0, "by": "AB", "at": AT, "source_sha256": MINE, **more}
    add_correction(corrections_path(path), start_s=start_s, end_s=end_s, label=label, **given)


def name_ann(path: Path, source_sha256: str | None = MINE) -> None:
    people = People((Person("Ann", "child", (Piece(0),)),))
    people.write(people_path(path), source_sha256)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return two_people().write(tmp_path / "s1" / "timeline.parquet")


# -------------------------------------------------------------- layers of another recording


def test_a_layer_keeps_the_hash_of_its_recording(path: Path) -> None:
    name_ann(path)
    correct(path, 1, 2, "sadness")
    assert json.loads(people_path(path).read_text())["source_sha256"] == MINE
    assert json.loads(corrections_path(path).read_text())["source_sha256"] == MINE
    found = read_annotated(path)
    assert found.timeline.face_name(0) == "Ann" and len(found.corrections) == 1


@pytest.mark.parametrize("write", [name_ann, lambda path, sha: correct(path, 1, 2, "fear")])
def test_layers_of_another_recording_are_refused_with_the_remedy(
    path: Path, write: Callable[..., None]
) -> None:
    """The timeline was replaced by another recording's; the layer beside it stayed."""
    write(path, MINE)
    make_timeline(
        [make_row(i, i / 25, [0.1, 0.9, 0, 0, 0, 0, 0]) for i in range(100)],
        metadata={"source_sha256": OTHER, "source_name": "s1.mp4"},
    ).write(path)
    with pytest.raises(TimelineError, match=r"another recording, not for s1\.mp4.*Move the file"):
        read_annotated(path)


def test_a_layer_of_0_1_without_a_hash_is_read_if_its_faces_and_times_exist(path: Path) -> None:
    name_ann(path, None)
    correct(path, 1, 2, "sadness", source_sha256=None)
    assert "source_sha256" not in corrections_path(path).read_text() + people_path(path).read_text()
    assert len(read_annotated(path).corrections) == 1
    correct(path, 8.5, 9, "sadness", source_sha256=None)  # face 0 is away then
    with pytest.raises(UsageError, match=r"Correction 2 in .* does not have that face"):
        read_annotated(path)


def test_nothing_is_added_to_the_corrections_of_another_recording(path: Path) -> None:
    correct(path, 1, 2, "sadness")
    before = corrections_path(path).read_bytes()
    with pytest.raises(TimelineError, match="another recording"):
        correct(path, 3, 4, "fear", source_sha256=OTHER)
    assert corrections_path(path).read_bytes() == before


def test_a_comparison_refuses_the_corrections_of_another_recording(path: Path) -> None:
    elsewhere = path.with_name("copied.parquet")
    correct(elsewhere, 1, 2, "sadness", source_sha256=OTHER)
    job = Job(path, [Coder(corrections_path(elsewhere), ("face 0 corrected",))], face="0")
    with pytest.raises(TimelineError, match="another recording"):
        compare_files(job)


def three_seconds(first_face: int = 0, every: int = 1, **metadata: Any) -> Timeline:
    smile = [0.1, 0.9, 0, 0, 0, 0, 0]
    rows = [make_row(i, i / 25, smile, face_id=first_face) for i in range(0, 75, every)]
    return make_timeline(
        rows, metadata={"source_sha256": MINE, "source_name": "s1.mp4", **metadata}
    )


def layers_of(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in (people_path(path), corrections_path(path))}


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_layers_of_another_analysis_are_refused_with_the_remedy(path: Path, kind: str) -> None:
    path = path.with_suffix(f".{kind}")
    machine = three_seconds(detector="mtcnn")
    machine.write(path)
    origin = layer_origin(machine)
    hashes = {key: origin[key] for key in ("source_sha256", "tracks_sha256")}
    correct(path, 1, 2, "sadness", **hashes)
    People((Person("Ann", "child", (Piece(0),)),)).write(people_path(path), *hashes.values())
    before = layers_of(path)
    same = [three_seconds(detector="mtcnn", model_name="another"), machine]
    others = [three_seconds(every=2), three_seconds(detector="yunet"), three_seconds(first_face=1)]
    for timeline in (*others, *same):
        timeline.write(path)
        if timeline in same:  # another model that reads the same faces
            assert read_annotated(path).timeline.face_name(0) == "Ann"
            continue
        with pytest.raises(TimelineError, match=r"another analysis of s1\.mp4.*Analyze it again"):
            read_annotated(path)
        people_path(path).rename(aside := path.with_name("aside"))
        with pytest.raises(TimelineError, match=r"another analysis of s1\.mp4.*move the file away"):
            read_annotated(path)
        with pytest.raises(TimelineError, match="another analysis"):
            correct(path, 2, 3, "fear", tracks_sha256=layer_origin(timeline)["tracks_sha256"])
        aside.rename(people_path(path))
    assert layers_of(path) == before


def test_a_comparison_refuses_the_corrections_of_another_analysis(path: Path) -> None:
    elsewhere = path.with_name("copied.parquet")
    correct(elsewhere, 1, 2, "sadness", tracks_sha256="ab" * 32)
    name_ann(path)
    job = Job(path, [Coder(corrections_path(elsewhere), "face 0 corrected")], face="Ann")
    with pytest.raises(TimelineError, match="another analysis"):
        compare_files(job)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_thinned_timeline_knows_the_layers_of_the_whole(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = two_people().write(path.with_suffix(f".{kind}"))
    whole = layer_origin(read_timeline(path))
    monkeypatch.setattr(downsample, "MAX_TABLE_VALUES", 1000)
    monkeypatch.setattr(formats, "_BATCH_ROWS", 7)
    thin = read_thinned(path)
    assert thin.table.num_rows < two_people().table.num_rows and layer_origin(thin) == whole


def test_the_readers_of_layers_check_a_timeline_only_if_it_is_given(path: Path) -> None:
    correct(path, 1, 2, "sadness")
    name_ann(path)
    assert read_corrections(corrections_path(path)) and read_people(people_path(path)).persons
    for read, layer in ((read_corrections, corrections_path), (read_people, people_path)):
        with pytest.raises(TimelineError, match="another recording"):
            read(layer(path), {"source_sha256": OTHER})


def test_a_timeline_with_names_is_read_from_its_export(path: Path, tmp_path: Path) -> None:
    name_ann(path)
    named = read_annotated(path).timeline
    for kind in ("parquet", "csv", "json"):
        assert read_annotated(named.write(tmp_path / f"copy.{kind}")).timeline == named


# ------------------------------------------------------------------- figures with corrections

NAMES = ("neutral", "happiness", "sadness")
N, H = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]


def ten_seconds(folder: Path) -> tuple[Timeline, Path]:
    """10 frames a second: 4 s neutral, 4 s happiness, 2 s neutral of low quality."""
    rows = [make_row(i, i / 10, H if 40 <= i < 80 else N) for i in range(100)]
    for row in rows[80:]:
        row["status"] = "low_quality"
    made = build_timeline(
        rows,
        names=NAMES,
        group_of={name: GROUPS[name] for name in NAMES},
        settings=RAW,
        metadata={"source_sha256": MINE, "source_name": "s1.mp4", "complete": True},
    )
    return made, made.write(folder / "timeline.parquet")


def shares(face: Any) -> dict[str, float]:
    return {label: figures["share"] for label, figures in face["expressions"].items()}


def test_corrections_count_apart_from_the_model_s_figures(tmp_path: Path) -> None:
    made, path = ten_seconds(tmp_path)
    correct(path, 6, 8, "sadness")
    correct(path, 8, 9, "happiness")  # was unsure: a coder's label is sure
    summary = read_annotated(path).summary()
    machine, corrected = summary["faces"]["0"], summary["corrected"]["faces"]["0"]
    assert machine == made.summary()["faces"]["0"]
    assert shares(machine) == pytest.approx({"neutral": 4 / 8, "happiness": 4 / 8, "sadness": 0})
    assert shares(corrected) == pytest.approx(
        {"neutral": 4 / 9, "happiness": 3 / 9, "sadness": 2 / 9}
    )
    assert corrected["time_unsure_s"] == pytest.approx(1)
    assert corrected["groups"]["negative"]["share"] == pytest.approx(2 / 9)
    assert corrected["expressions"]["sadness"]["episodes"] == 1
    assert corrected["expressions"]["sadness"]["longest_s"] == pytest.approx(2)
    about = summary["corrected"]
    assert (about["coders"], about["corrections"]) == (["AB"], 2)
    assert about["time_corrected_s"] == pytest.approx(3) and about["time_disputed_s"] == 0


def test_without_corrections_there_are_no_corrected_figures(tmp_path: Path) -> None:
    made, path = ten_seconds(tmp_path)
    assert annotate(made, path).summary() == made.summary()
    assert read_annotated(path).summary() == {**made.summary(), "timeline": str(path)}


def test_where_coders_differ_the_latest_counts_and_it_is_told(tmp_path: Path) -> None:
    _, path = ten_seconds(tmp_path)
    correct(path, 0, 4, "sadness", by="AB")
    correct(path, 2, 4, "happiness", by="CD")
    summary = read_annotated(path).summary()
    about = summary["corrected"]
    assert about["coders"] == ["AB", "CD"] and about["time_disputed_s"] == pytest.approx(2)
    assert shares(about["faces"]["0"])["sadness"] == pytest.approx(2 / 8)
    assert any("coders differ in 2.0 s" in line for line in summary_lines(summary))


def test_a_label_of_the_coder_s_own_has_its_own_share(tmp_path: Path) -> None:
    _, path = ten_seconds(tmp_path)
    correct(path, 0, 2, "boredom")
    face = read_annotated(path).summary()["corrected"]["faces"]["0"]
    assert shares(face)["boredom"] == pytest.approx(2 / 8)
    assert math.fsum(shares(face).values()) == pytest.approx(1)
    assert face["share_no_group"] == pytest.approx(2 / 8)


def test_a_person_s_corrections_follow_the_person(path: Path) -> None:
    people = People((Person("Ann", None, (Piece(1), Piece(0, 17.5))),))
    people.write(people_path(path), MINE)
    correct(path, 6, 7, "fear", face_id=1)
    correct(path, 17.2, 18, "disgust")  # 0.3 s is face 0's, 0.5 s is Ann's
    faces = read_annotated(path).summary()["corrected"]["faces"]
    ann = next(face for face in faces.values() if face.get("name") == "Ann")
    assert ann["expressions"]["fear"]["time_s"] >= 1
    assert ann["expressions"]["disgust"]["time_s"] == pytest.approx(0.5, abs=0.05)


def test_the_table_of_summaries_names_the_recording_its_hash_and_both_figures(
    tmp_path: Path,
) -> None:
    _, path = ten_seconds(tmp_path)
    (row,) = summary_rows(read_annotated(path).summary())
    assert (row["recording"], row["timeline"], row["source_sha256"]) == (
        "s1.mp4",
        str(path),
        MINE,
    )
    assert not any(name.startswith("corrected") for name in row)
    correct(path, 6, 8, "sadness")
    (row,) = summary_rows(read_annotated(path).summary())
    assert row["happiness share"] == pytest.approx(4 / 8)
    assert row["corrected happiness share"] == pytest.approx(2 / 8)
    assert row["corrected by"] == "AB"
    assert "corrected happiness share" in summary_csv([read_annotated(path).summary()])


def test_the_report_shows_the_model_s_figures_first_and_then_the_corrected_ones(
    tmp_path: Path,
) -> None:
    _, path = ten_seconds(tmp_path)
    page = write_report(read_annotated(path), tmp_path / "a.html").read_text(encoding="utf-8")
    assert "correct" not in text_of(page).lower()
    correct(path, 6, 8, "sadness")
    page = write_report(read_annotated(path), tmp_path / "b.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "positive 50 % of the sure time with a face with corrections: 25 %" in text
    assert "With 1 correction by AB (2.0 s)" in text
    tables = page.split("Each expression, ")[1:]
    assert [table.startswith("face 0, corrected") for table in tables] == [False, False, True, True]


def test_the_expressions_of_the_group_neutral_are_neutral_and_surprise() -> None:
    assert [name for name in EXPRESSIONS if GROUPS[name] == "neutral"] == ["neutral", "surprise"]
