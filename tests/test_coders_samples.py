"""Files in the shapes of real ones: BORIS's test projects and tables, Datavyu's old and new files.

They are made here; what they are like was seen in the programs' own repositories.
"""

from __future__ import annotations

import json
import zipfile

import pytest

from moppet.coders import Code, read_coding
from moppet.coders.code_map import Vocabulary
from moppet.coders.comparison import choose_lane
from moppet.values import EXPRESSIONS, GROUPS, TimelineError, UsageError

WORDS = Vocabulary(EXPRESSIONS, GROUPS, {})


def boris(**observations):
    """A project as BORIS 7 saves it, with live observations and films."""
    behaviors = [("p", "Point event"), ("s", "State event"), ("q", "Point event")]
    return {
        "time_format": "hh:mm:ss",
        "project_name": "test",
        "project_date": "2016-11-27T01:55:22",
        "project_format_version": "7.0",
        "project_description": "",
        "subjects_conf": {"0": {"key": "1", "name": "subject1", "description": ""}},
        "behavioral_categories": [],
        "coding_map": {},
        "converters": {},
        "independent_variables": {},
        "behaviors_conf": {
            str(number): {
                "type": kind,
                "key": code,
                "code": code,
                "description": "",
                "category": "",
                "modifiers": "" if code == "q" else {},
                "excluded": "",
                "coding map": "",
            }
            for number, (code, kind) in enumerate(behaviors)
        },
        "observations": {name.replace("_", " "): one for name, one in observations.items()},
    }


def film(*events, files=("visit.mp4",), offset=0.0, **more):
    return {
        "file": {"1": list(files), "2": []},
        "type": "MEDIA",
        "date": "2016-12-01T23:01:31",
        "description": "",
        "time offset": offset,
        "events": [list(event) for event in events],
        "independent_variables": {"a": "", "c": "111"},
        "visualize_spectrogram": False,
        "close_behaviors_between_videos": False,
        "media_info": {
            "length": dict.fromkeys(files, 359.96),
            "fps": dict.fromkeys(files, 25.0),
            "hasVideo": {**dict.fromkeys(files, True), "removed.avi": True},
            "hasAudio": dict.fromkeys(files, False),
            "offset": {"1": 0.0, "2": 20.0},
        },
    } | more


def live(*events, file=()):
    return {
        "file": file if isinstance(file, dict) else list(file),
        "type": "LIVE",
        "date": "2018-02-20T15:34:38",
        "description": "two\n\nrows",
        "time offset": 0.0,
        "events": [list(event) for event in events],
        "observation time interval": [0, 0],
        "scan_sampling_time": 0,
        "start_from_current_time": False,
        "media_info": {"offset": {}},
    }


PAIRED = [(3.3, "subject1", "s", "", ""), (7.75, "subject1", "s", "", ""), (9, "", "p", "", "")]
UNPAIRED = [(2.048, "", "p", "", ""), (2.718, "", "s", "", "")]


def saved(tmp_path, project, name="p.boris"):
    path = tmp_path / name
    path.write_text(json.dumps(project, indent=1), encoding="utf-8")
    return path


def test_a_state_that_never_stops_spoils_its_own_observation_only(tmp_path):
    project = boris(visit=film(*PAIRED), live_not_paired=live(*UNPAIRED), empty=live(file={}))
    path = saved(tmp_path, project)
    coding = read_coding(path)
    assert {lane.observation for lane in coding.lanes} == {"visit"}
    assert list(coding.faults) == ["live not paired"]
    options = {"tiers": ["subject1"], "recording": "visit.mp4"}
    lane = choose_lane(coding, path, WORDS, observation=None, **options)
    assert lane.codes == (Code(3.3, 7.75, "s"),)
    with pytest.raises(TimelineError, match=r"p\.boris: 's' starts at 2\.718 s and never stops"):
        choose_lane(coding, path, WORDS, observation="live not paired", **options)
    with pytest.raises(UsageError, match="'visit', 'live not paired'"):
        choose_lane(coding, path, WORDS, observation="x", **options)


def test_the_only_observation_with_codes_must_be_whole(tmp_path):
    with pytest.raises(TimelineError, match="never stops"):
        read_coding(saved(tmp_path, boris(visit=film(*UNPAIRED), empty=live())))


@pytest.mark.parametrize("time", [float("nan"), None])
def test_codes_of_images_without_times_spoil_their_own_observation_only(tmp_path, time):
    pictures = film((time, "", "p", "", "", 3, "img_3.jpg"), type="IMAGES")
    coding = read_coding(saved(tmp_path, boris(visit=film(*PAIRED), pictures=pictures)))
    assert "without times" in coding.faults["pictures"]
    with pytest.raises(TimelineError, match="'pictures' has codes of images"):
        read_coding(saved(tmp_path, boris(pictures=pictures)))


def test_modifiers_with_spaces_and_none_pair_by_themselves(tmp_path):
    events = [
        (19.175, "", "s", "m1 |None", ""),
        (27.95, "", "s", "m1 |None", ""),
        (30.425, "", "s", "None", ""),
        (40.825, "", "s", "None", ""),
    ]
    (lane,) = read_coding(saved(tmp_path, boris(visit=film(*events)))).lanes
    assert lane.codes == (Code(19.175, 27.95, "s"), Code(30.425, 40.825, "s"))


def boris_7_table(offset="0.0", tab="\t"):
    """What BORIS 7 exported of one observation: what holds for all of it stands above."""
    above = [
        ("Observation id", "observation, 1; a"),
        (),
        ("Media file(s)",),
        ("Player #1", "visit.mp4"),
        ("Observation date", "2016-11-27 01:57:26"),
        ("Time offset (s)", offset),
        ("independent variables",),
        ("variable", "value"),
        ("c", "111"),
        (),
    ]
    columns = ("Time", "Media file path", "Total length", "FPS", "Subject", "Behavior")
    columns += ("Behavioral category", "Comment", "Status")
    film = ("D:\\films\\visit.mp4", "359.960", "25.0")
    rows = [
        columns,
        ("3.250", *film, "subject1", "s", "", "", "START"),
        ("7.750", *film, "subject1", "s", "", "", "STOP"),
        ("9.875", *film, "No focal subject", "p", "", "", "POINT"),
    ]
    padded = [(*row, *[""] * (len(columns) - len(row))) for row in (*above, *rows)]
    quote = '"' if tab == "," else ""
    return "".join(
        tab.join(f"{quote}{cell}{quote}" if tab in cell else cell for cell in row) + "\n"
        for row in padded
    )


@pytest.mark.parametrize(("ending", "tab"), [("tsv", "\t"), ("csv", ",")])
def test_what_stands_above_a_table_of_boris_7_is_read(tmp_path, ending, tab):
    path = tmp_path / f"t.{ending}"
    path.write_text(boris_7_table("2.0", tab), encoding="utf-8")
    coding = read_coding(path)
    assert [(lane.observation, lane.person, lane.codes) for lane in coding.lanes] == [
        ("observation, 1; a", "subject1", (Code(1.25, 5.75, "s"),)),
        ("observation, 1; a", "", (Code(7.875, 7.875, "p"),)),
    ]
    assert coding.source_name == "visit.mp4"


def test_one_unpaired_state_leaves_the_other_observations_of_a_table(tmp_path):
    columns = "Observation id\tSubject\tBehavior\tBehavior type\tTime\n"
    rows = "a\tx\ts\tSTART\t1\na\tx\ts\tSTOP\t2\nb\tx\ts\tSTART\t3\nb\tx\tp\tPOINT\t4\n"
    path = tmp_path / "t.tsv"
    path.write_text(columns + rows, encoding="utf-8")
    coding = read_coding(path)
    assert [(lane.observation, lane.codes) for lane in coding.lanes] == [("a", (Code(1, 2, "s"),))]
    assert "starts at 3.000 s" in coding.faults["b"]


def opf(tmp_path, db, inside="db"):
    path = tmp_path / "d.opf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(inside, db)
        archive.writestr("project", "!project\n")
    return {lane.title: lane.codes for lane in read_coding(path).lanes}


CELLS = "00:00:01:000,00:00:02:500,(smile)\n"


@pytest.mark.parametrize("inside", ["db", "visit/db", "visit\\db"])
def test_a_datavyu_sheet_may_lie_in_a_folder_also_of_windows(tmp_path, inside):
    name = zipfile.ZipInfo(inside)
    name.filename = inside
    found = opf(tmp_path, f"#4\nface (MATRIX,true,)-code|NOMINAL\n{CELLS}", name)
    assert found == {"face": (Code(1.0, 2.5, "smile"),)}


@pytest.mark.parametrize(
    "header", ["#4\nface (MATRIX,false,a note)-", "#3\nface (MATRIX,true)-", "#2\nface (MATRIX)-"]
)
def test_datavyu_sheets_of_all_versions_are_read(tmp_path, header):
    assert opf(tmp_path, f"{header}code|NOMINAL\n{CELLS}") == {"face": (Code(1.0, 2.5, "smile"),)}


def test_a_datavyu_column_may_begin_with_a_digit(tmp_path):
    found = opf(tmp_path, f"#4\n2nd_coder (MATRIX,true,)-code|NOMINAL\n{CELLS}")
    assert found == {"2nd_coder": (Code(1.0, 2.5, "smile"),)}


def test_old_queries_are_left_out_as_datavyu_does(tmp_path):
    db = f"#4\nface (MATRIX,true,)-code|NOMINAL\n{CELLS}###QueryVar### (PREDICATE,true,)\n{CELLS}"
    assert opf(tmp_path, db) == {"face": (Code(1.0, 2.5, "smile"),)}


def test_a_sheet_that_datavyu_wrote_on_windows_keeps_its_letters(tmp_path):
    db = "#4\nface (MATRIX,true,)-code|NOMINAL\n00:00:01:000,00:00:02:500,(fâché)\n"
    assert opf(tmp_path, db.encode("cp1252"))["face"][0].label == "fâché"
