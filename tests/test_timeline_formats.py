"""A timeline comes back from every format as it went, and damaged files are told apart."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moppet.timeline import TimelineSettings, build_timeline, read_timeline
from moppet.timeline.table import read_thinned
from moppet.values import GROUPS, TimelineError, UsageError

SUFFIXES = (".parquet", ".csv", ".json")
NAMES = ("neutral", "happiness")
FLOATS = ("box_x", "box_y", "box_w", "box_h", "detection_score", "yaw", "pitch", "roll", "quality")


def small(p=(0.1, 0.9), **more):
    rows = [
        {"frame": 0, "time_s": 0.0, "status": "no_face"},
        {
            **{"frame": 1, "time_s": 1 / 30, "face_id": 0, "status": "ok", "p": p},
            **dict.fromkeys(FLOATS, 0.1),
            "quality": 0.8,
        },
        {"frame": 2, "time_s": 2 / 30, "status": "unreadable"},
    ]
    return build_timeline(rows, names=NAMES, group_of=GROUPS, **more)


odd_names = st.lists(
    st.one_of(
        st.sampled_from(
            ["crying", "héllo", 'sa"d', "a,b", "p_x", "s_x", " ", "NA", "null", "1", "true", "x;y"]
        ),
        st.text(min_size=1, max_size=6).filter(str.isprintable),
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
number = {
    name: st.one_of(st.none(), st.just(math.nan), st.floats(low, high, width=32))
    for name, low, high in (
        *((name, -1e6, 1e6) for name in FLOATS[:4]),
        (FLOATS[4], 0, 1),
        *((name, -360, 360) for name in FLOATS[5:8]),
    )
}
"""Numbers of each column within the limits of a timeline."""


@st.composite
def timelines(draw):
    names = draw(odd_names)
    group_of = {
        name: draw(st.sampled_from(["positive", "NA", "gr,oup", "ß"]))
        for name in names
        if draw(st.booleans())
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, time_s = [], draw(st.floats(-10, 1e5))
    for frame in range(draw(st.integers(0, 8))):
        time_s += draw(st.floats(0, 3))
        ids = draw(st.lists(st.integers(0, 2**31 - 1), max_size=3, unique=True))
        if not ids:
            status = draw(st.sampled_from(["no_face", "unreadable", "skipped"]))
            rows.append({"frame": frame, "time_s": time_s, "status": status})
        for face_id in ids:
            p = rng.dirichlet(np.ones(len(names))) if draw(st.integers(0, 4)) else None
            row = {"frame": frame, "time_s": time_s, "face_id": face_id, "p": p}
            row["status"] = draw(st.sampled_from(["ok", "low_quality"]))
            row |= {name: draw(number[name]) for name in FLOATS[:-1]}
            row["quality"] = draw(st.one_of(st.none(), st.floats(0, 1)))
            rows.append(row)
    return build_timeline(
        rows,
        names=names,
        group_of=group_of,
        settings=TimelineSettings(smooth_s=draw(st.sampled_from([0.0, 0.25, 2.0]))),
        metadata={"source_name": draw(st.text(max_size=5).filter(str.isprintable)), "x": [1, None]},
    )


@given(timelines(), st.sampled_from(SUFFIXES))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_format_gives_back_exactly_what_it_got(timeline, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = timeline.write(Path(folder) / f"t{suffix}")
        again = read_timeline(path)
    assert again.table.equals(timeline.table)
    assert again == timeline


def test_parquet_metadata_is_json_under_one_key(tmp_path):
    timeline = small(metadata={"model_name": "é", "complete": True})
    path = timeline.write(tmp_path / "t.parquet")
    raw = pq.read_metadata(path).metadata[b"moppet"]
    assert json.loads(raw) == timeline.metadata
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_csv_has_one_header_line_plain_booleans_and_empty_for_missing(tmp_path):
    path = small().write(tmp_path / "t.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["frame", "time_s", "face_id", "status"]
    assert rows[0]["face_id"] == "" and rows[0]["unsure"] == "" and rows[0]["p_neutral"] == ""
    assert rows[1]["unsure"] == "false" and rows[1]["box_x"] == "0.1"
    assert rows[1]["time_s"] == repr(1 / 30)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.meta.json"]


def test_csv_reads_the_same_in_pandas(tmp_path):
    timeline = small()
    path = timeline.write(tmp_path / "t.csv")
    frame = pd.read_csv(path, dtype={"face_id": "Int32", "unsure": "boolean"})
    expected = timeline.to_pandas()
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, rtol=1e-6)


def test_a_csv_saved_by_pandas_or_in_the_way_of_r_is_read(tmp_path):
    timeline = small()
    timeline.to_pandas().assign(note="mine").to_csv(tmp_path / "pandas.csv", index=False)
    again = read_timeline(tmp_path / "pandas.csv")
    assert again.table.equals(timeline.table)
    text = timeline.write(tmp_path / "t.csv").read_text(encoding="utf-8")
    header, *lines = text.splitlines()
    for old, new in (("false", "FALSE"), ("true", "TRUE")):
        lines = [line.replace(old, new) for line in lines]
    lines = [",".join(cell or "NA" for cell in line.split(",")) for line in lines]
    (tmp_path / "r.csv").write_text("\r\n".join([header, *lines, ""]), encoding="utf-8-sig")
    assert read_timeline(tmp_path / "r.csv").table.equals(timeline.table)


def test_a_csv_alone_takes_its_names_from_the_columns_and_groups_from_the_rows(tmp_path):
    rows = [
        {"frame": i, "time_s": i / 10, "status": "ok", "face_id": 0, "p": np.eye(4)[i % 4]}
        for i in range(3)
    ]
    names = ("surprise", "crying", "other", "fear")
    made = build_timeline(
        rows,
        names=names,
        group_of={"surprise": "aroused", "crying": "distress"},
        settings=TimelineSettings(smooth_s=0),
    )
    path = made.write(tmp_path / "t.csv")
    (tmp_path / "t.meta.json").unlink()
    again = read_timeline(path)
    assert again.names == names
    assert again.table.equals(made.table)
    assert again.group_of == {"surprise": "aroused", "crying": "distress", "fear": "negative"}
    assert again.settings == TimelineSettings()


def test_a_sidecar_of_another_file_is_refused(tmp_path):
    path = small().write(tmp_path / "t.csv")
    sidecar = tmp_path / "t.meta.json"
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(content | {"names": ["neutral"]}))
    with pytest.raises(TimelineError, match=r"'happiness', but its metadata names neutral"):
        read_timeline(path)
    sidecar.write_text(json.dumps(content | {"names": ["neutral", "happiness", "fear"]}))
    with pytest.raises(TimelineError, match="'p_fear'"):
        read_timeline(path)
    sidecar.write_text("{")
    with pytest.raises(TimelineError, match=r"t\.csv is not a timeline, or is damaged"):
        read_timeline(path)


def remove_line(path: Path, word: str) -> None:
    """Remove the line with a word, as a person would."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if word not in line]
    assert len(kept) == len(lines) - 1
    path.write_text("".join(kept), encoding="utf-8")


def test_a_table_and_metadata_of_two_writes_are_refused_with_the_remedy(tmp_path, monkeypatch):
    path = small().write(tmp_path / "t.csv")
    replace, done = os.replace, []

    def only_once(source, target):
        if done:
            raise OSError(5, "Input/output error")
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", only_once)
    newer = small(p=[0.3, 0.7], metadata={"source_name": "new.mp4"})
    with pytest.raises(TimelineError, match=r"Cannot write .*t\.meta\.json: Input/output error"):
        newer.write(path)
    monkeypatch.undo()
    assert done == [path]  # the table is new, its metadata is old
    for read in (read_timeline, read_thinned):
        with pytest.raises(TimelineError, match=r"t\.csv and t\.meta\.json do not belong together"):
            read(path)
    assert newer.write(path) and read_timeline(path) == newer  # the remedy
    newer.to_pandas().assign(note="mine").to_csv(path, index=False)
    assert read_timeline(path) == newer  # another program wrote the same values
    path.write_text(path.read_text(encoding="utf-8").replace("0.7", "0.71"), encoding="utf-8")
    with pytest.raises(TimelineError, match="if you edited the table, remove the line"):
        read_timeline(path)


def test_metadata_without_the_hash_of_its_table_is_read(tmp_path):
    path = small().write(tmp_path / "t.csv")
    remove_line(tmp_path / "t.meta.json", "values_sha256")  # as in moppet 0.1
    assert read_timeline(path) == small()
    assert "values_sha256" not in read_timeline(small().write(path)).metadata


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    for suffix in SUFFIXES:
        path = small().write(tmp_path / f"t{suffix}")
        before = path.read_bytes()

        def full(*_args, **_more):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(TimelineError, match="the disk is full"):
            small(metadata={"new": 1}).write(path)
        monkeypatch.undo()
        assert path.read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, suffix):
    (tmp_path / "none").write_text("a file")
    with pytest.raises(TimelineError, match="Cannot write") as caught:
        small().write(tmp_path / "none" / f"t{suffix}")
    assert "\n" not in str(caught.value)


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\.parquet, \.csv, \.json"):
        small().write(tmp_path / "t.xlsx")
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(TimelineError, match=r"\.parquet, \.csv, \.json"):
        read_timeline(tmp_path / "t.xlsx")
    assert read_timeline(small().write(tmp_path / "T.JSON")) == small()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe\x80" * 50, b"name,age\nmia,4\n", b'{"a": 1}', b"[1, 2]"]
)
def test_files_that_are_no_timelines_are_one_sentence(tmp_path, suffix, content):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(TimelineError, match="timeline") as caught:
        read_timeline(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_and_a_folder_are_named(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    with pytest.raises(TimelineError, match=f"t{suffix} is not there"):
        read_timeline(path)
    path.mkdir()
    with pytest.raises(TimelineError, match=f"t{suffix} is a folder"):
        read_timeline(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("call", ["open", "stat"])
def test_a_file_without_permission_is_named(tmp_path, monkeypatch, suffix, call):
    path = small().write(tmp_path / f"t{suffix}")

    def forbidden(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, call, forbidden)
    with pytest.raises(TimelineError, match=f"Cannot read .*t{suffix}: Permission denied"):
        read_timeline(path)


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_half_a_file_is_refused(tmp_path, suffix):
    path = small().write(tmp_path / f"t{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TimelineError, match="damaged"):
        read_timeline(path)


def test_wrong_values_name_the_column(tmp_path):
    path = small().write(tmp_path / "t.csv")
    text = path.read_text()
    path.write_text(text.replace("0.9", "ninety"))
    with pytest.raises(TimelineError, match="ninety"):
        read_timeline(path)
    path.write_text(text.replace('"time_s"', '"time"'))
    with pytest.raises(TimelineError, match=r"'time_s'.*'time'"):
        read_timeline(path)
    path = small().write(tmp_path / "t.json")
    content = json.loads(path.read_text())
    content["columns"]["yaw"] = ["a", "b", "c"]
    path.write_text(json.dumps(content))
    with pytest.raises(TimelineError, match="'yaw'"):
        read_timeline(path)


def test_a_csv_alone_with_a_misspelled_class_column_is_refused(tmp_path):
    path = small().write(tmp_path / "t.csv")
    (tmp_path / "t.meta.json").unlink()
    path.write_text(path.read_text().replace("s_happiness", "s_hapiness"))
    with pytest.raises(TimelineError, match=r"'s_happiness'.*'s_hapiness'"):
        read_timeline(path)


def test_settings_of_a_later_version_are_refused_by_name(tmp_path):
    path = small().write(tmp_path / "t.json")
    content = json.loads(path.read_text())
    content["moppet"]["settings"]["timeline"]["blur"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(TimelineError, match=r"'blur'.*another version"):
        read_timeline(path)


def test_the_date_of_an_earlier_version_is_read_under_its_new_name():
    folder = Path(__file__).parent / "golden" / "old" / "whole" / "clip"
    for suffix in (".json", ".csv", ".parquet"):
        metadata = read_timeline(folder / f"timeline{suffix}").metadata
        assert metadata["analyzed_at"][:10] == "2026-11-30" and "analysed_at" not in metadata
