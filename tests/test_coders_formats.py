"""What moppet writes for ELAN, BORIS, Datavyu and Praat: whole, valid, and read back the same."""

from __future__ import annotations

import csv
import json
import re
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import pympi
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moppet.coders import PROGRAMS, Code, Coding, Lane, read_coding, write_program
from moppet.coders.timeline_coding import coding_of
from moppet.values import TimelineError
from report_samples import two_people

LABELS = (
    "happiness",
    "Wei\N{LATIN SMALL LETTER SHARP S} nicht",
    'say "no", (twice)',
    "a-b\\c|d",
    "<x> & y",
)


@st.composite
def codings(draw):
    """Lanes of codes that do not overlap, on the millisecond, for up to two persons."""
    lanes = []
    for person in ("face 0", "face 1")[: draw(st.integers(1, 2))]:
        for name in ("expression", "group")[: draw(st.integers(1, 2))]:
            gaps = draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(2, 5000)), max_size=5))
            codes, at = [], 0
            for gap, length in gaps:
                start, at = at + gap, at + gap + length
                codes.append(Code(start / 1000, at / 1000, draw(st.sampled_from(LABELS))))
            lanes.append(Lane(name, tuple(codes), person))
            means = tuple(code._replace(label="0.50") for code in codes)
            lanes.append(Lane(name, means, person, "probability"))
    return Coding(tuple(lanes), "clip.mp4", 60.0, 25.0)


def codes_by_title(coding, *, plain=False):
    """Lanes with codes, by title; a title as Datavyu writes it if plain."""
    found = {lane.title: lane.codes for lane in coding.lanes if lane.codes}
    if plain:
        found = {re.sub(r"\W", "_", title): codes for title, codes in found.items()}
        found = {title.removesuffix("_code"): codes for title, codes in found.items()}
    return found


@given(codings())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_file_gives_back_every_code(coding):
    main = {title: c for title, c in codes_by_title(coding).items() if "prob" not in title}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for program in PROGRAMS:
            for path in write_program(coding, folder, "clip", program):
                again = read_coding(path)
                if program == "boris":
                    assert codes_by_title(again) == main, path.name
                elif program == "datavyu":
                    assert codes_by_title(again, plain=True) == codes_by_title(coding, plain=True)
                else:
                    assert codes_by_title(again) == codes_by_title(coding), path.name


@given(
    st.lists(st.floats(0.002, 20), min_size=1, max_size=20), st.sampled_from(["elan", "datavyu"])
)
@settings(max_examples=60, deadline=None)
def test_a_time_is_off_by_half_a_millisecond_at_most_and_never_makes_an_overlap(lengths, program):
    codes, at = [], 0.0
    for number, length in enumerate(lengths):
        codes.append(Code(at, at + length, f"c{number}"))
        at += length
    with tempfile.TemporaryDirectory() as name:
        (path,) = write_program(Coding((Lane("x", tuple(codes)),)), Path(name), "c", program)
        (lane,) = read_coding(path).lanes
    for written, read in zip(codes, lane.codes, strict=True):
        assert abs(read.start_s - written.start_s) <= 0.0005 + 1e-9
        assert abs(read.end_s - written.end_s) <= 0.0005 + 1e-9
    assert all(b.start_s >= a.end_s for a, b in pairwise(lane.codes))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a timeline of two faces, by ending."""
    folder = tmp_path_factory.mktemp("written")
    coding = coding_of(two_people(), made_at="2026-01-02T03:04:05Z")
    paths = [p for program in PROGRAMS for p in write_program(coding, folder, "child", program)]
    return {path.name.removeprefix("child"): path for path in paths}


def test_a_timeline_becomes_a_person_for_each_face_and_a_lane_without_faces():
    timeline = two_people()
    coding = coding_of(timeline)
    lanes = {lane.title: lane for lane in coding.lanes}
    for face in (0, 1):
        for kind in ("expression", "group"):
            episodes = [e for e in timeline.episodes(kind) if e.face_id == face]
            assert lanes[f"face {face} {kind}"].codes == tuple(
                Code(e.start_s, e.end_s, e.label) for e in episodes
            )
            means = [f"{e.mean_probability:.2f}" for e in episodes]
            assert [c.label for c in lanes[f"face {face} {kind} probability"].codes] == means
    assert {person for lane in coding.lanes if (person := lane.person)} == {"face 0", "face 1"}
    unsure = timeline.summary()["faces"]["0"]["time_unsure_s"]
    spans = lanes["face 0 unsure"].codes
    assert sum(c.end_s - c.start_s for c in spans) == pytest.approx(unsure)
    faceless = [(s["start_s"], s["end_s"]) for s in timeline.summary()["faceless"]]
    assert [code[:2] for code in lanes["no face"].codes] == faceless


def test_probabilities_are_means_over_their_slots():
    timeline = two_people()
    table = timeline.table.to_pandas()
    rows = table[(table["face_id"] == 0) & table["time_s"].between(2, 2.999)]
    lanes = {lane.title: lane for lane in coding_of(timeline, probabilities_s=1).lanes}
    of_sadness = {code.start_s: code for code in lanes["face 0 probabilities sadness"].codes}
    assert of_sadness[2.0].end_s == 3.0
    assert float(of_sadness[2.0].label) == pytest.approx(rows["s_sadness"].mean(), abs=0.0051)
    assert 9.0 not in of_sadness  # the face was away
    assert not any(
        "probabilities" in t
        for t in {lane.name for lane in coding_of(timeline, probabilities_s=0).lanes}
    )


def test_pympi_reads_the_same_from_the_eaf_and_the_textgrid(written):
    eaf = pympi.Elan.Eaf(str(written[".eaf"]))
    grid = pympi.Praat.TextGrid(str(written[".TextGrid"]))
    for lane in read_coding(written[".eaf"]).lanes:
        theirs = sorted(eaf.get_annotation_data_for_tier(lane.title))
        assert theirs == [
            (round(c.start_s * 1000), round(c.end_s * 1000), c.label) for c in lane.codes
        ]
    for lane in read_coding(written[".TextGrid"]).lanes:
        intervals = grid.get_tier(lane.title).get_intervals(sort=True)
        assert [tuple(i) for i in intervals if i[2]] == [tuple(c) for c in lane.codes]


def test_moppet_reads_what_pympi_writes(tmp_path):
    eaf = pympi.Elan.Eaf(author="pympi")
    eaf.add_tier("child", part="P1")
    eaf.add_annotation("child", 100, 2500, "smile")
    eaf.add_annotation("child", 2500, 3100, "cry")
    eaf.to_file(str(tmp_path / "p.eaf"))
    lanes = {lane.title: lane.codes for lane in read_coding(tmp_path / "p.eaf").lanes}
    assert lanes["child"] == (Code(0.1, 2.5, "smile"), Code(2.5, 3.1, "cry"))


def test_no_file_names_a_folder_or_more_than_the_recording(written):
    for ending, path in written.items():
        data = path.read_bytes()
        if ending == ".opf":
            with zipfile.ZipFile(path) as archive:
                data = b"".join(archive.read(name) for name in archive.namelist())
        for private in (b"file:", str(path.parent).encode(), b"sha256", b"/home", b"cdcdcd"):
            assert private not in data, (ending, private)


def test_a_boris_project_pairs_as_boris_pairs(written):
    project = json.loads(written[".boris"].read_text(encoding="ascii"))
    assert project["project_format_version"] == "7.0"
    (observation,) = project["observations"].values()
    assert list(observation["file"]) == [str(n) for n in range(1, 9)]
    assert observation["file"]["1"] == ["child.mp4"]
    assert observation["media_info"]["length"] == {"child.mp4": 20.0}
    events = observation["events"]
    assert [e[0] for e in events] == sorted(e[0] for e in events)
    coded = {entry["code"]: entry for entry in project["behaviors_conf"].values()}
    assert {e[2] for e in events} == set(coded)
    assert coded["neutral (group)"]["category"] == "group"
    # BORIS: the odd event of a subject and behavior starts a state, the even one stops it.
    seen, spans = {}, []
    for time_s, subject, code, *_ in events:
        key = subject, code
        if key in seen:
            spans.append((*key, seen.pop(key), time_s))
        else:
            seen[key] = time_s
    assert not seen
    lanes = {lane.title: lane for lane in coding_of(two_people()).lanes}
    mine = [s[2:] for s in spans if s[:2] == ("face 0", "happiness")]
    theirs = [c[:2] for c in lanes["face 0 expression"].codes if c.label == "happiness"]
    assert mine == [tuple(round(t, 3) for t in span) for span in theirs]


def test_boris_tables_have_its_columns_and_say_the_same(written):
    def rows(ending):
        with written[ending].open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    tabular, aggregated = rows("_tabular.tsv"), rows("_aggregated.tsv")
    assert list(tabular[0])[-5:] == [
        "Time",
        "Media file name",
        "Image index",
        "Image file path",
        "Comment",
    ]
    assert list(aggregated[0])[13:17] == ["Behavior type", "Start (s)", "Stop (s)", "Duration (s)"]
    assert len(tabular) == 2 * len(aggregated)
    for row in aggregated:
        length = float(row["Stop (s)"]) - float(row["Start (s)"])
        assert float(row["Duration (s)"]) == pytest.approx(length, abs=1e-9)
    starts = sorted(float(r["Time"]) for r in tabular if r["Behavior type"] == "START")
    assert starts == sorted(float(r["Start (s)"]) for r in aggregated)
    assert aggregated[0]["Comment start"].startswith("probability 0.")


def test_an_opf_is_a_zip_of_a_project_and_a_spreadsheet(written):
    with zipfile.ZipFile(written[".opf"]) as archive:
        assert sorted(archive.namelist()) == ["db", "project"]
        first, *lines = archive.read("db").decode("utf-8").splitlines()
        project = archive.read("project").decode("utf-8")
    assert first == "#4"
    tag, _, rest = project.partition("\n")
    assert tag == "!project"
    values = yaml.safe_load(rest)
    assert values["dbFile"] == "db" and values["version"] == 5 and values["viewerSettings"] == []
    headers = [line for line in lines if not line[0].isdigit()]
    assert headers[0] == "face_0_expression (MATRIX,true,)-code|NOMINAL,probability|NOMINAL"
    clock = r"\d\d:\d\d:\d\d:\d{3}"
    cells = [line for line in lines if line[0].isdigit()]
    assert all(re.fullmatch(rf"{clock},{clock},\(.*\)", line) for line in cells)
    assert any(header.count("|NOMINAL") == 7 for header in headers)  # the probabilities


def test_a_textgrids_intervals_fill_the_recording(written):
    grid = pympi.Praat.TextGrid(str(written[".TextGrid"]))
    for tier in grid.get_tiers():
        intervals = list(tier.get_intervals(sort=True))
        assert intervals[0][0] == 0 and intervals[-1][1] == 20
        assert all(a[1] == b[0] for a, b in pairwise(intervals))


POINTS = Coding((Lane("look", (Code(1.0, 1.0, "blink"), Code(2.5, 2.5, "wink"))),), "c.mp4", 9.0)


@pytest.mark.parametrize("program", ["boris", "datavyu", "textgrid"])
def test_points_stay_points(tmp_path, program):
    for path in write_program(POINTS, tmp_path, "c", program):
        (lane,) = read_coding(path).lanes
        assert lane.codes == POINTS.lanes[0].codes


def test_elan_has_no_points_so_they_last_a_millisecond(tmp_path):
    (path,) = write_program(POINTS, tmp_path, "c", "elan")
    assert read_coding(path).lanes[0].codes[0] == Code(1.0, 1.001, "blink")


@pytest.mark.parametrize(
    ("program", "codes", "says"),
    [
        ("elan", [(0, 2, "a"), (1, 3, "b")], "ELAN allows no overlapping"),
        ("textgrid", [(0, 2, "a"), (1, 3, "b")], "Praat allows no overlapping"),
        ("textgrid", [(0, 2, "a"), (3, 3, "b")], "intervals or points"),
        ("boris", [(0, 2, "a"), (1, 3, "a")], "twice at once"),
        ("elan", [(-1, 2, "a")], "start at 0 seconds"),
    ],
)
def test_what_a_program_cannot_hold_is_refused_and_leaves_no_file(tmp_path, program, codes, says):
    lane = Lane("x", tuple(Code(*code) for code in codes))
    with pytest.raises(TimelineError, match=says):
        write_program(Coding((lane,)), tmp_path, "c", program)
    assert list(tmp_path.iterdir()) == []


def test_two_lanes_of_one_name_are_refused(tmp_path):
    lane = Lane("x", (Code(0, 1, "a"),))
    with pytest.raises(TimelineError, match="two are named 'x'"):
        write_program(Coding((lane, lane)), tmp_path, "c", "elan")
