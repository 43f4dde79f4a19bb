"""A report of a very long recording or of odd boxes stays small, and says what it leaves out."""

from __future__ import annotations

import os
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from moppet.datasets.corrected_faces import _square
from moppet.pages.face_images import SIDE_PX, _crop
from moppet.pages.report import write_report
from moppet.timeline import Timeline, downsample, formats, read_timeline
from moppet.timeline.annotations import (
    AnnotatedTimeline,
    add_correction,
    corrections_path,
    read_annotated,
)
from moppet.timeline.people import People, Person, Piece, people_path
from moppet.timeline.table import read_thinned, thinned
from moppet.values import TimelineError
from page_text import text_of
from report_samples import long_recording, make_row, make_timeline

Run = Callable[..., Any]
ONE = [0.1, 0.9, 0, 0, 0, 0, 0]


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    """Reports of at most a thousand rows of the default model."""
    rows = 1000
    columns = long_recording(1).table.num_columns
    monkeypatch.setattr(downsample, "MAX_TABLE_VALUES", rows * columns)
    return rows


@pytest.fixture(scope="module")
def long() -> Timeline:
    return long_recording(120, faces=2, fps=25)


def test_a_long_timeline_is_thinned_to_the_bound_and_its_shares_stay(
    long: Timeline, bound: int, tmp_path: Path
) -> None:
    path = long.write(tmp_path / "timeline.parquet")
    part = read_thinned(path)
    assert part == thinned(long)
    every = part.metadata["thinned_every"]
    assert long.table.num_rows / every <= bound < long.table.num_rows
    assert set(part.table["frame"].to_pylist()) == set(range(0, 3000, every))
    before, after = (one.summary()["faces"]["all"] for one in (long, part))
    assert after["time_s"] == pytest.approx(before["time_s"], rel=0.02)
    for label, figures in before["expressions"].items():
        assert after["expressions"][label]["share"] == pytest.approx(figures["share"], abs=0.02)


def test_the_report_says_what_it_leaves_out(long: Timeline, bound: int, tmp_path: Path) -> None:
    page = write_report(long, tmp_path / "r.html").read_text(encoding="utf-8")
    every = thinned(long).metadata["thinned_every"]
    assert f"One in {every} analyzed frames is included" in text_of(page)
    short = long_recording(20, fps=10)
    assert thinned(short) is short
    assert "too long" not in text_of(write_report(short, tmp_path / "s.html").read_text())


def test_a_file_is_thinned_alike_however_its_rows_are_stored(
    long: Timeline, bound: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long.write(tmp_path / "timeline.parquet")
    whole = read_thinned(path)
    monkeypatch.setattr("moppet.timeline.formats._BATCH_ROWS", 7)  # frames reach across batches
    assert read_thinned(path) == whole
    for kind in ("csv", "json"):
        assert read_thinned(long.write(tmp_path / f"timeline.{kind}")) == whole


def test_skipped_frames_do_not_count_and_do_not_stay(bound: int) -> None:
    rows = [
        make_row(i, i / 100, ONE) if i % 2 else make_row(i, i / 100, status="skipped")
        for i in range(4000)
    ]
    part = thinned(make_timeline(rows))
    assert set(part.table["status"].to_pylist()) == {"ok"}
    assert part.table.num_rows == 500  # 2,000 of 4,000 rows are analyzed, and 1 in 4 stays


def test_frames_far_apart_are_no_gaps_once_thinned(bound: int) -> None:
    part = thinned(make_timeline([make_row(i, i / 2, ONE) for i in range(3000)]))
    assert part.settings.max_gap_s == 3  # every third frame is left: 1.5 s apart
    assert part.summary()["faces"]["0"]["time_s"] == pytest.approx(1500)


def test_short_corrections_and_pieces_do_not_hinder_a_thinned_report(
    long: Timeline, bound: int, tmp_path: Path
) -> None:
    path = long.write(tmp_path / "timeline.parquet")
    add_correction(
        *(corrections_path(path),),
        **{"face_id": 1, "start_s": 20.1, "end_s": 20.2, "label": "fear", "by": "A", "at": "x"},
    )
    People((Person("Ann", None, (Piece(1), Piece(0, 20.1, 20.2))),)).write(people_path(path))
    with pytest.raises(Exception, match="both"):
        read_annotated(path)  # she would be in two places at once
    People((Person("Ann", None, (Piece(1, 5, 100), Piece(0, 1.1, 1.2))),)).write(people_path(path))
    found = read_annotated(path, thin=True)
    assert found.summary()["corrected"]["corrections"] == 1


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 60_000, 60_000),
        (-30_000, -30_000, 60_000, 60_000),
        (-1e6, -1e6, 1e6, 1e6),
        (9e5, 9e5, 100, 1e6),
        (100, -5e5, 1e6, 1e6),
    ],
)
def test_a_box_much_larger_than_the_image_takes_no_memory(
    box: tuple[float, float, float, float],
) -> None:
    image = np.full((720, 1280, 3), 200, np.uint8)
    tracemalloc.start()
    face, square = _crop(image, box), _square(image, box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert face.shape == (SIDE_PX, SIDE_PX, 3) and len(square) <= 2 * 1280
    assert peak < 50e6


def test_a_large_box_shows_the_same_part_as_one_that_is_drawn_whole() -> None:
    image = np.full((720, 1280, 3), 200, np.uint8)
    drawn, bounded = (_crop(image, (-900, -900, side, side)) for side in (1960, 1980))
    assert np.abs(drawn.astype(int) - bounded).mean() < 8


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_a_timeline_too_large_for_memory_is_refused_by_export_and_compare_with_a_remedy(
    long: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moppet: Run, kind: str
) -> None:
    path, values = long.write(tmp_path / f"t.{kind}"), long.table.num_rows * long.table.num_columns
    for name in ("MOST_VALUES", "MOST_JSON_VALUES"):
        monkeypatch.setattr(formats, name, values // 3)
    codes = tmp_path / "codes.eaf"
    codes.write_text("<ANNOTATION_DOCUMENT/>")
    for command in (("export", path), ("compare", path, codes)):
        code, _, err = moppet(*command, "-o", tmp_path / "out")
        assert code == 1 and f"t.{kind} has some " in err and "--start, --end" in err
        assert "--every 4" in err or "--every 3" in err
        assert not (tmp_path / "out").exists()
    assert read_timeline(path) == long
    if kind != "json":
        assert read_annotated(path, thin=True).timeline == long


def test_several_timelines_are_exported_one_after_another(
    tmp_path: Path, moppet: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [long_recording(i, fps=5).write(tmp_path / f"{i}.parquet") for i in (3, 4, 5)]
    held: list[weakref.ref[Timeline]] = []

    def read(path: Path, people: Path | None) -> AnnotatedTimeline:
        assert sum(one() is not None for one in held) <= 1
        found = read_annotated(path, people)
        held.append(weakref.ref(found.timeline))
        return found

    monkeypatch.setattr("moppet.timeline.annotations.read_annotated", read)
    code, _, _ = moppet("export", *paths, "--format", "summary", "-o", tmp_path / "out")
    assert code == 0 and len(held) == 6
    assert len((tmp_path / "out" / "summary.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_pipe_is_no_timeline_and_is_never_opened(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(path := tmp_path / f"pipe{suffix}")
    formats.check_values(path)
    for read in (read_timeline, read_thinned, read_annotated):
        with pytest.raises(TimelineError, match=r"is a file, but .* is a pipe or device"):
            read(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_too_many_columns_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    wide = pa.table({f"c{i}": [1] for i in range(5000)})
    path = tmp_path / f"wide{suffix}"
    (pa_csv.write_csv if suffix == ".csv" else pq.write_table)(wide, path)
    monkeypatch.setattr(pa_csv, "read_csv", None)
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    with pytest.raises(TimelineError, match=r"more than .* columns"):
        read_timeline(path)
