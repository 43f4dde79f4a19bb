"""After a kill the journal gives back every whole batch."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest

from moppet.timeline import Journal, build_timeline, read_journal, read_journal_header
from moppet.values import TimelineError

NAMES = ("joy", "héllo")
HEADER = {"source_sha256": "ab", "every": 2, "settings": {"smooth_s": 0.25}}


def rows(first, count):
    made = []
    for i in range(first, first + count):
        if i % 3:
            p = None if i % 7 == 0 else [0.3, 0.7]
            pose = {"yaw": math.nan, "pitch": None, "quality": 0.1, "box_x": 0.1}
            made.append(
                {"frame": i, "time_s": i / 30, "face_id": 1, "status": "ok", "p": p, **pose}
            )
        else:
            made.append({"frame": i, "time_s": i / 30, "status": "no_face"})
    return made


def built(raw):
    return build_timeline(raw, names=NAMES, group_of={"joy": "positive"})


def test_rows_come_back_and_build_the_same_timeline(tmp_path):
    path = tmp_path / "j.arrows"
    with Journal(path, NAMES, HEADER) as journal:
        journal.append(rows(0, 10))
        journal.append([])
        journal.append(rows(10, 5))
    back = read_journal(path)
    assert [row["frame"] for row in back] == list(range(15))
    assert back[0]["face_id"] is None and back[0]["p"] is None
    assert back[1]["yaw"] is None and back[1]["p"] == pytest.approx([0.3, 0.7])
    assert built(back) == built(rows(0, 15))
    assert read_journal_header(path) == HEADER


def test_a_journal_cut_anywhere_gives_its_whole_batches(tmp_path):
    path, ends = tmp_path / "j.arrows", []
    with Journal(path, NAMES, HEADER) as journal:
        ends.append(path.stat().st_size)
        for i in range(3):
            journal.append(rows(4 * i, 4))
            ends.append(path.stat().st_size)
    data = path.read_bytes()
    near_ends = {end + step for end in ends for step in (-1, 0, 1)}
    for cut in sorted({*range(ends[0], len(data), 23), *near_ends}):
        if not ends[0] <= cut <= len(data):
            continue
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends[1:])
        assert len(read_journal(path)) == 4 * whole, cut
    for junk in (b"\x00" * 64, b"\xff" * 64, bytes(range(256))):
        path.write_bytes(data + junk)
        assert len(read_journal(path)) == 12
    for cut in range(0, ends[0], 37):
        path.write_bytes(data[:cut])
        with pytest.raises(TimelineError, match="journal"):
            read_journal(path)


def test_a_killed_writer_leaves_what_it_appended(tmp_path):
    path = tmp_path / "j.arrows"
    code = (
        "import sys, time\n"
        "from moppet.timeline import Journal\n"
        "journal = Journal(sys.argv[1], ['a'], {})\n"
        "for i in range(5):\n"
        "    journal.append([{'frame': i, 'time_s': i / 10, 'status': 'no_face'}])\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline().strip() == b"written"
        os.kill(writer.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert [row["frame"] for row in read_journal(path)] == [0, 1, 2, 3, 4]


def test_resume_cuts_the_torn_tail_and_goes_on(tmp_path):
    path = tmp_path / "j.arrows"
    with Journal(path, NAMES, HEADER) as journal:
        journal.append(rows(0, 6))
        journal.append(rows(6, 600))
    path.write_bytes(path.read_bytes()[:-9])
    with Journal(path, NAMES, dict(HEADER), resume=True) as journal:
        assert [row["frame"] for row in read_journal(path)] == list(range(6))
        journal.append(rows(6, 2))
    with Journal(path, NAMES, HEADER, resume=True) as journal:
        journal.append(rows(8, 1))
    assert built(read_journal(path)) == built(rows(0, 9))
    other = tmp_path / "whole.arrows"
    with Journal(other, NAMES, HEADER) as journal:
        for first, count in ((0, 6), (6, 2), (8, 1)):
            journal.append(rows(first, count))
    assert path.read_bytes() == other.read_bytes(), "nothing of the torn tail is left"


def test_resume_refuses_another_source_by_the_name_of_what_differs(tmp_path):
    path = tmp_path / "j.arrows"
    with Journal(path, NAMES, HEADER) as journal:
        journal.append(rows(0, 6))
    before = path.read_bytes()
    with pytest.raises(TimelineError, match="another every"):
        Journal(path, NAMES, HEADER | {"every": 3}, resume=True)
    with pytest.raises(TimelineError, match="another names"):
        Journal(path, ("joy", "other"), HEADER, resume=True)
    with pytest.raises(TimelineError, match="Cannot read the journal"):
        Journal(tmp_path / "none", NAMES, HEADER, resume=True)
    assert path.read_bytes() == before


def test_without_resume_an_old_journal_is_replaced(tmp_path):
    path = tmp_path / "j.arrows"
    with Journal(path, NAMES, HEADER) as journal:
        journal.append(rows(0, 60))
    with Journal(path, NAMES, {}) as journal:
        journal.append(rows(0, 1))
    assert len(read_journal(path)) == 1 and read_journal_header(path) == {}


def test_bad_rows_leave_the_journal_as_it_was(tmp_path):
    path = tmp_path / "j.arrows"
    with Journal(path, NAMES) as journal:
        journal.append(rows(0, 3))
        with pytest.raises(TimelineError):
            journal.append([{"frame": 3, "time_s": 0.1, "status": "ok", "p": [2, 2]}])
        journal.append(rows(3, 3))
    assert len(read_journal(path)) == 6


def test_other_files_are_no_journals(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b"hello", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(TimelineError, match="is not a journal"):
            read_journal(path)
    with pytest.raises(TimelineError, match="Cannot read the journal"):
        read_journal(tmp_path)
    with pytest.raises(TimelineError, match="Cannot write"):
        Journal(tmp_path / "none" / "j", NAMES)


def test_appending_stays_linear(tmp_path):
    # Each batch is written once: the file grows by the same amount every time.
    path = tmp_path / "j.arrows"
    sizes = []
    with Journal(path, NAMES) as journal:
        for i in range(20):
            journal.append(rows(300 * i, 300))
            sizes.append(path.stat().st_size)
    steps = {b - a for a, b in pairwise(sizes)}
    assert max(steps) < 300 * 100 and max(steps) - min(steps) < 64
