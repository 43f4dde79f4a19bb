"""`moppet gather`: many timelines as one study whose figures are those of each recording."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

import moppet as package
from cohort_sample import dyad_timeline, write_study
from command_line import Run
from moppet.cohort.recordings import ListedRecording, match_recordings, read_recordings
from moppet.cohort.study_folder import read_study
from moppet.timeline import build_timeline
from moppet.timeline.annotations import add_correction, corrections_path, read_annotated
from moppet.timeline.people import layer_origin
from moppet.values import UsageError


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_study(tmp_path_factory.mktemp("study"), dyads=2, seconds=20)


@pytest.fixture(scope="module")
def study(sample: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gathered") / "study"
    package.gather(sample[0], folder, sample[1])
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_figure_is_that_of_the_recording(sample: tuple[Path, Path], study: Path) -> None:
    rows = {
        (r["recording"], r["person"], r["kind"], r["label"]): r
        for r in rows_of(study / "summary.csv")
    }
    people = len({key[:2] for key in rows})
    assert people == 8 and len(rows) == people * (7 + 3 + 1 + 1 + 1 + 2)
    for path in sorted(sample[0].rglob("timeline.parquet")):
        name = path.parent.relative_to(sample[0]).as_posix()
        for face in read_annotated(path).summary()["faces"].values():
            if face["face_id"] is None:
                continue
            for kind, part in (("expression", "expressions"), ("group", "groups")):
                for label, figures in face[part].items():
                    row = rows[name, face["name"], kind, label]
                    for column in ("time_s", "time_sure_s", "share", "mean_s", "longest_s"):
                        wanted = figures[column]
                        assert row[column] == ("" if wanted is None else f"{wanted:.12g}") or (
                            float(row[column]) == pytest.approx(wanted, abs=1e-6)
                        )
                    assert int(row["episodes"]) == figures["episodes"]
                    assert row["corrected_share"] == row["share"]
                    assert float(row["face_s"]) == pytest.approx(face["time_s"])
            blink = rows[name, face["name"], "blink", "blink"]
            assert float(blink["episodes"]) == face["blinks"]
            smile = rows[name, face["name"], "movement", "lip_corner_pull"]
            mean = face["movements"]["lip_corner_pull"]
            assert float(smile["mean"]) == pytest.approx(mean, abs=1e-6)
            left, right = (
                rows[name, face["name"], "movement", f"gaze_{way}"] for way in ("left", "right")
            )
            both = float(left["mean"]) - float(right["mean"])
            assert both == pytest.approx(face["movements"]["gaze_x"], abs=1e-5)


def test_rows_carry_hash_and_participant(sample: tuple[Path, Path], study: Path) -> None:
    for name in ("summary.csv", "episodes.csv", "recordings.csv"):
        for row in rows_of(study / name):
            number, condition = row["recording"].split("/")
            assert row["participant"] == number[1:] and row["condition"] == condition
            assert len(row["source_sha256"]) == 64
    role = {r["person"]: r["role"] for r in rows_of(study / "summary.csv")}
    assert role == {"Child 0": "child", "Child 1": "child", "Parent": "caregiver"}


def test_the_frames_are_one_dataset_with_all_rows(sample: tuple[Path, Path], study: Path) -> None:
    table = ds.dataset(study / "frames").to_table()
    paths = sorted(sample[0].rglob("timeline.parquet"))
    total = sum(package.read_timeline(path).table.num_rows for path in paths)
    assert table.num_rows == total
    assert table.schema.field("age_months").type == "int64"
    assert set(table["participant"].to_pylist()) == {"00", "01"}
    assert table["corrected_expression"].to_pylist() == table["expression"].to_pylist()
    assert set(table["role"].to_pylist()) == {"child", "caregiver"}


def test_pandas_reads_the_study(study: Path) -> None:
    pd = pytest.importorskip("pandas")
    frames = pd.read_parquet(study / "frames")
    summary = pd.read_csv(study / "summary.csv", dtype={"participant": str})
    happy = summary.query("kind == 'expression' and label == 'happiness' and role == 'child'")
    means = happy.groupby("condition")["share"].mean()
    assert means["play"] > means["alone"] + 0.1
    assert len(frames) == 8 * 200


def test_corrections_and_the_machine_stand_apart(tmp_path: Path) -> None:
    results, listed = write_study(tmp_path, dyads=1, seconds=10)
    path = results / "c00" / "play" / "timeline.parquet"
    origin = layer_origin(package.read_timeline(path))
    own = {"source_sha256": origin["source_sha256"], "tracks_sha256": origin["tracks_sha256"]}
    for label, start in (("anger", 0.0), ("boredom", 5.0)):
        fields = {"start_s": start, "end_s": start + 4, "label": label, "by": "AB", "at": "2026"}
        add_correction(corrections_path(path), face_id=0, **fields, **own)
    study = tmp_path / "study"
    package.gather(results, study, listed)
    rows = {
        (r["recording"], r["role"], r["kind"], r["label"]): r
        for r in rows_of(study / "summary.csv")
    }
    anger = rows["c00/play", "child", "expression", "anger"]
    assert (anger["share"], anger["corrected_share"]) == ("0", "0.4")
    assert (anger["episodes"], anger["corrected_episodes"], anger["corrections"]) == ("0", "1", "2")
    boredom = rows["c00/play", "child", "expression", "boredom"]
    assert (boredom["share"], boredom["corrected_share"]) == ("", "0.4")
    other = rows["c00/alone", "child", "expression", "neutral"]
    assert other["share"] == other["corrected_share"] and other["corrections"] == "0"
    machine = [r["label"] for r in rows_of(study / "episodes.csv")]
    corrected = [r["label"] for r in rows_of(study / "episodes_corrected.csv")]
    assert "boredom" in corrected and "boredom" not in machine
    table = ds.dataset(study / "frames").to_table().to_pylist()
    changed = [r for r in table if r["expression"] != r["corrected_expression"]]
    assert {r["corrected_expression"] for r in changed} == {"anger", "boredom"}
    assert {r["person"] for r in changed} == {"Child 0"}


def test_gathering_again_replaces_the_study(tmp_path: Path) -> None:
    results, listed = write_study(tmp_path, dyads=2, seconds=5)
    study = tmp_path / "study"
    package.gather(results, study, listed)
    package.gather(results / "c00", study, listed)
    assert len(list((study / "frames").iterdir())) == 2
    assert {r["recording"] for r in rows_of(study / "recordings.csv")} == {"alone", "play"}
    (study / "frames" / "mine.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=r"not of this study: mine\.parquet"):
        package.gather(results, study, listed)


def test_one_recording_twice_is_refused(tmp_path: Path) -> None:
    results, _ = write_study(tmp_path, dyads=1, seconds=5)
    twin = results / "copy" / "timeline.parquet"
    twin.parent.mkdir()
    twin.write_bytes((results / "c00" / "play" / "timeline.parquet").read_bytes())
    with pytest.raises(UsageError, match="of the same recording, which would count twice"):
        package.gather(results, tmp_path / "study")


def test_recordings_of_other_models_share_one_schema(tmp_path: Path) -> None:
    results, listed = write_study(tmp_path, dyads=1, seconds=5)
    rows = [
        {
            "frame": i,
            "time_s": i / 10,
            "status": "ok",
            "face_id": 0,
            "quality": 0.9,
            "p": (0.8, 0.2),
        }
        for i in range(20)
    ]

    other = build_timeline(
        rows,
        names=("calm", "crying"),
        group_of={"crying": "negative"},
        metadata={"model_name": "b"},
    )
    (results / "other").mkdir()
    other.write(results / "other" / "timeline.csv")
    done = package.gather(results, tmp_path / "study", listed)
    assert "2 different models (b, default)" in done.notes[-1]
    table = ds.dataset(tmp_path / "study" / "frames").to_table()
    calm = table.filter(ds.field("recording") == "other")
    assert calm["p_calm"].null_count == 0 and calm["p_neutral"].null_count == 20
    assert set(calm["participant"].to_pylist()) == {None}


def test_the_command_prints_files_and_notes(
    sample: tuple[Path, Path], tmp_path: Path, moppet: Run
) -> None:
    listed = tmp_path / "list.csv"
    text = sample[1].read_text().replace("videos/c01/play.mp4", "videos/c09/gone.mp4")
    listed.write_text(text.replace(",", ";"))
    study = tmp_path / "study"
    done = moppet("gather", sample[0], "-o", study, "--recordings", listed)
    assert done.code == 0 and "4 recordings, 8 people or unnamed faces" in done.out
    assert "without a timeline: videos/c09/gone.mp4" in done.out
    assert str(study / "summary.csv") in done.out
    printed = json.loads(moppet("gather", sample[0], "-o", study, "--json").out)
    assert printed["recordings"] == 4 and printed["people"] == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,participant\na.mp4,1\n", "needs a column 'path'"),
        ("path,share\na.mp4,1\n", "also a column of the study's tables"),
        ("path,a,a\nx.mp4,1,2\n", "column 'a' twice"),
        ("path,a\nx.mp4\n", "Row 2 .* has 1 cells"),
        ("path,a\n,3\n", "Row 2 .* lacks the recording's path"),
    ],
)
def test_a_list_that_is_none_is_refused(
    sample: tuple[Path, Path], tmp_path: Path, moppet: Run, text: str, said: str
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text(text.replace("a.mp4", "videos/c00/play.mp4"))
    done = moppet("gather", sample[0], "-o", tmp_path / "study", "--recordings", listed)
    assert done.code == 2 and re.search(said, done.err) and not (tmp_path / "study").exists()


def test_cells_are_numbers_only_where_that_loses_nothing(tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("path,participant,a,b,c,d\nx.mp4,7,007,3,-1.5,nan\n")
    assert read_recordings(listed)[0].info == {
        **{"participant": "7", "a": "007", "b": 3, "c": -1.5, "d": "nan"},
    }


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    listed = [ListedRecording(f"v/{c}/s1.mp4", {"participant": c}) for c in ("a", "b")]
    found = [("s1", f"/r/{c}/s1", {"source_name": "s1.mp4"}) for c in ("b", "a")]
    assert [r.info["participant"] for r in match_recordings(listed, found) if r] == ["b", "a"]
    with pytest.raises(UsageError, match="all fit the timeline s1"):
        match_recordings(listed, [("s1", "/r/s1", {"source_name": "s1.mp4"})])


def test_a_folder_without_timelines_names_the_remedy(tmp_path: Path, moppet: Run) -> None:
    done = moppet("gather", tmp_path, "-o", tmp_path / "study")
    assert done.code == 2 and "analyze the recordings first" in done.err
    with pytest.raises(UsageError, match="Make one with: moppet gather"):
        read_study(tmp_path)


def test_values_in_a_timeline_are_used_without_a_list(tmp_path: Path) -> None:
    info = {"recording_info": {"participant": "x7", "condition": "play", "age_months": 14}}
    rng = np.random.default_rng(0)
    timeline = dyad_timeline(np.zeros(20), np.ones(20), rng, {"source_name": "a.mp4", **info})
    (tmp_path / "r").mkdir()
    timeline.write(tmp_path / "r" / "timeline.parquet")
    package.gather(tmp_path / "r", tmp_path / "study")
    assert read_study(tmp_path / "study").info_columns == ["participant", "condition", "age_months"]
    assert {r["participant"] for r in rows_of(tmp_path / "study" / "summary.csv")} == {"x7"}
