"""From a recording to its timeline: every frame once, parts, streams, and going on after a stop."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from model_folder import write_model
from moppet import analyze, stream
from moppet.infer.pipeline import Analysis, Progress, Settings
from moppet.timeline import TimelineSettings, read_journal
from moppet.values import EXPRESSIONS, MediaError, ModelError, TimelineError, UsageError

FPS = 20
FRAMES = 48
BLANK = range(24, 36)  # a gap of 0.6 seconds, shorter than what makes a new number


@pytest.fixture(scope="module")
def clip(tmp_path_factory, pictures, write_video) -> Path:
    """A head that drifts through the image, goes for 0.6 seconds and comes back."""
    image = pictures["age05_asian_happiness.jpg"].image

    def frame(i: int) -> np.ndarray:
        if i in BLANK:
            return np.full((240, 320, 3), 120, np.uint8)
        shift = np.array([[1, 0, 2.0 * i - 40], [0, 1, -50]])
        return cv2.warpAffine(image, shift, (320, 240), borderMode=cv2.BORDER_REPLICATE)

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, (frame(i) for i in range(FRAMES)), FPS)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("pipeline") / "tiny")


@pytest.fixture(scope="module")
def whole(clip, model):
    """The clip's timeline, and the progress on the way."""
    seen: list[Progress] = []
    return analyze(clip, model=model, progress=seen.append), seen


def rows_of(timeline) -> list[dict[str, Any]]:
    return timeline.table.to_pylist()


def test_every_frame_has_a_row_at_its_own_time(whole):
    rows = rows_of(whole[0])
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert [row["time_s"] for row in rows] == pytest.approx([i / FPS for i in range(FRAMES)])


def test_the_head_has_one_number_and_the_gap_has_none(whole):
    for row in rows_of(whole[0]):
        if row["frame"] in BLANK:
            assert (row["status"], row["face_id"], row["expression"]) == ("no_face", None, None)
        else:
            assert (row["status"], row["face_id"]) == ("ok", 0)
            assert row["expression"] in EXPRESSIONS
            p = [row[f"p_{name}"] for name in EXPRESSIONS]
            assert sum(p) == pytest.approx(1, abs=1e-4)


def test_the_box_moves_with_the_head(whole, pictures):
    x, y, w, h = pictures["age05_asian_happiness.jpg"].faces[0].box_px
    for row in rows_of(whole[0]):
        if row["face_id"] is not None:
            middle = row["box_x"] + row["box_w"] / 2, row["box_y"] + row["box_h"] / 2
            expected = x + w / 2 + 2 * row["frame"] - 40, y + h / 2 - 50
            assert middle == pytest.approx(expected, abs=15), row["frame"]


def test_the_metadata_say_what_was_done_with_what(whole, clip, model):
    metadata = whole[0].metadata
    assert metadata["complete"] is True
    assert metadata["source_name"] == "clip.mp4"
    assert metadata["source_sha256"] == sha256(clip.read_bytes()).hexdigest()
    assert metadata["model_sha256"] == sha256((model / "model.onnx").read_bytes()).hexdigest()
    assert (metadata["model_name"], metadata["detector"]) == ("tiny", "mtcnn")
    assert (metadata["width"], metadata["height"]) == (320, 240)
    assert metadata["frame_count"] == FRAMES
    assert metadata["duration_s"] == pytest.approx(FRAMES / FPS, abs=0.06)
    assert metadata["settings"]["every"] == 1


def test_progress_grows_to_the_last_frame(whole):
    frames = [step.frames for step in whole[1]]
    assert frames == sorted(set(frames)) and frames[-1] == FRAMES
    assert whole[1][-1].total == FRAMES
    assert whole[1][-1].time_s == pytest.approx((FRAMES - 1) / FPS)
    assert len(frames) >= 4


def test_every_third_frame_is_looked_at_and_the_others_are_skipped(clip, model):
    rows = rows_of(analyze(clip, model=model, every=3))
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    for row in rows:
        assert (row["status"] == "skipped") == (row["frame"] % 3 > 0)
    assert {row["face_id"] for row in rows} == {0, None}


def test_a_part_keeps_the_numbers_and_times_of_the_whole(clip, model, whole):
    rows = rows_of(analyze(clip, model=model, start_s=0.5, end_s=1.0))
    assert [row["frame"] for row in rows] == list(range(10, 20))
    times = [row["time_s"] for row in rows_of(whole[0])][10:20]
    assert [row["time_s"] for row in rows] == times


def test_a_search_in_every_frame_finds_the_head_in_the_same_place(clip, model, whole):
    searched = rows_of(analyze(clip, model=model, detect_every_frame=True))
    for a, b in zip(searched, rows_of(whole[0]), strict=True):
        assert (a["frame"], a["face_id"], a["status"]) == (b["frame"], b["face_id"], b["status"])
        if a["face_id"] is not None:
            assert a["box_x"] == pytest.approx(b["box_x"], abs=15)


def test_a_stream_yields_one_item_a_frame_that_agrees_with_the_file(clip, model, whole):
    items = list(stream(clip, model=model))
    assert [len(item) for item in items] == [1] * FRAMES
    found = 0
    for (live,), row in zip(items, rows_of(whole[0]), strict=True):
        assert list(live) == list(row)
        assert (live["frame"], live["time_s"]) == (row["frame"], row["time_s"])
        found += live["face_id"] == row["face_id"]
        if live["face_id"] is not None and row["face_id"] is not None:
            assert live["box_x"] == pytest.approx(row["box_x"], abs=10)
    assert found >= FRAMES - FPS // 2, "a newcomer may be seen half a second late"


def test_a_stream_that_is_left_early_can_be_closed(clip, model):
    rows = stream(clip, model=model)
    assert next(rows)[0]["frame"] == 0
    rows.close()
    with pytest.raises(StopIteration):
        next(rows)


# -------------------------------------------------------------------------- stop and go on


def stopped(clip: Path, settings: Settings, journal: Path | None, after: int) -> Analysis:
    """An analysis that the user interrupts at its n-th sign of progress."""
    steps = iter(range(1, 100))

    def interrupt(progress: Progress) -> None:
        if next(steps) == after:
            raise KeyboardInterrupt

    analysis = Analysis(clip, settings, journal=journal)
    with pytest.raises(KeyboardInterrupt):
        analysis.run(interrupt)
    return analysis


@pytest.mark.parametrize("after", [1, 2, 3])
def test_going_on_after_an_interrupt_gives_what_an_unbroken_run_gives(
    clip, model, whole, tmp_path, after
):
    settings, journal = Settings(model=str(model)), tmp_path / "clip.journal"
    part = stopped(clip, settings, journal, after).timeline()
    assert part.metadata["complete"] is False
    assert 0 < part.metadata["frame_count"] < FRAMES

    timeline = Analysis(clip, settings, journal=journal, resume=True).run()
    assert timeline.metadata["complete"] is True
    assert timeline.table.equals(whole[0].table)
    times = ("analyzed_at",)
    assert {k: v for k, v in timeline.metadata.items() if k not in times} == {
        k: v for k, v in whole[0].metadata.items() if k not in times
    }
    assert [row["frame"] for row in read_journal(journal)] == list(range(FRAMES))


def test_going_on_keeps_the_settings_of_the_part_and_of_every(clip, model, tmp_path):
    settings = Settings(model=str(model), every=2, start_s=0.3, end_s=2.0)
    stopped(clip, settings, tmp_path / "j", 2)
    resumed = Analysis(clip, settings, journal=tmp_path / "j", resume=True).run()
    assert resumed.table.equals(Analysis(clip, settings).run().table)


def test_a_finished_journal_goes_on_to_the_same_timeline(clip, model, tmp_path):
    settings = Settings(model=str(model), end_s=0.8)
    first = Analysis(clip, settings, journal=tmp_path / "j").run()
    second = Analysis(clip, settings, journal=tmp_path / "j", resume=True).run()
    assert second.table.equals(first.table) and second.metadata["complete"] is True


def test_a_journal_of_other_settings_is_not_gone_on_with(clip, model, tmp_path):
    stopped(clip, Settings(model=str(model)), tmp_path / "j", 1)
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(TimelineError, match="another settings"):
        Analysis(clip, Settings(model=str(model), every=2), journal=tmp_path / "j", resume=True)
    assert (tmp_path / "j").read_bytes() == before


def test_without_a_journal_to_go_on_with_it_starts_at_the_beginning(clip, model, tmp_path):
    settings = Settings(model=str(model), end_s=0.2)
    timeline = Analysis(clip, settings, journal=tmp_path / "new", resume=True).run()
    assert [row["frame"] for row in rows_of(timeline)] == [0, 1, 2, 3]
    assert len(read_journal(tmp_path / "new")) == 4


def test_an_interrupted_analysis_can_be_run_on(clip, model, tmp_path):
    settings = Settings(model=str(model), end_s=1.5)
    whole = Analysis(clip, settings).run().table
    assert stopped(clip, settings, tmp_path / "j", 1).run().table.equals(whole)
    assert stopped(clip, settings, None, 2).run().table.equals(whole)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"every": -3}, "every must be at least 1"),
        ({"min_face_px": 5}, "min_face_px must be at least 12"),
        ({"start_s": -1}, "start and end"),
        ({"start_s": 2, "end_s": 2}, "start and end"),
        ({"end_s": 0}, "start and end"),
        ({"start_s": float("nan")}, "start"),
        ({"end_s": float("nan")}, "start"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, text):
    with pytest.raises(UsageError, match=text):
        Settings(**settings)


def test_settings_are_plain_values_with_those_of_the_timeline():
    settings = Settings(every=2, timeline=TimelineSettings(smooth_s=0))
    values = settings.to_dict()
    assert values["every"] == 2 and values["timeline"]["smooth_s"] == 0


def test_what_cannot_be_used_is_refused_before_anything_is_written(clip, model, tmp_path):
    journal = tmp_path / "j"
    with pytest.raises(ModelError, match="no model 'nonesuch'"):
        Analysis(clip, Settings(model="nonesuch"), journal=journal)
    with pytest.raises(UsageError, match="no detector 'haar'"):
        Analysis(clip, Settings(model=str(model), detector="haar"), journal=journal)
    with pytest.raises(MediaError):
        Analysis(tmp_path / "nothing.mp4", Settings(model=str(model)), journal=journal)
    assert not journal.exists()


def test_a_image_is_a_recording_of_one_frame(model):
    image = Path(__file__).parent / "pictures" / "three_people.jpg"
    rows = rows_of(analyze(image, model=model))
    assert [(row["frame"], row["face_id"]) for row in rows] == [(0, 0), (0, 1), (0, 2)]


def test_the_rules_of_the_timeline_are_those_asked_for(clip, model):
    rules = TimelineSettings(smooth_s=0, low_quality_below=1)
    timeline = analyze(clip, model=model, end_s=0.2, timeline=rules)
    assert timeline.settings == rules
    for row in rows_of(timeline):
        assert row["s_neutral"] == row["p_neutral"]
        assert (row["status"] == "low_quality") == (row["quality"] < 1)
