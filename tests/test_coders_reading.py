"""Codes as people leave them in ELAN, BORIS, Datavyu and Praat; samples in the programs' shapes."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest

from moppet.coders import Code, read_coding
from moppet.values import TimelineError

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-05-06T07:08:09+01:00" FORMAT="2.8" VERSION="2.8">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/Users/x/visit 1.mp4" MIME_TYPE="video/mp4" {origin}/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="4000"/>
    <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="9000"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="child">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>smile </ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE>cry</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="sub" PARENT_REF="child" TIER_ID="how">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a3">
      <ANNOTATION_VALUE>loud</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a3" PREVIOUS_ANNOTATION="a4">
      <ANNOTATION_VALUE>soft</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="sub" PARENT_REF="how" TIER_ID="why">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a5">
      <ANNOTATION_VALUE>tired</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_coding(path)


def test_elans_dependent_and_unaligned_annotations_take_their_parts_of_time(tmp_path):
    coding = read(tmp_path, "v.eaf", EAF.format(origin=""))
    lanes = {lane.title: lane.codes for lane in coding.lanes}
    assert lanes["child"] == (Code(1.0, 2.5, "smile"), Code(2.5, 4.0, "cry"))
    assert lanes["how"] == (Code(4.0, 6.5, "loud"), Code(6.5, 9.0, "soft"))
    assert lanes["why"] == (Code(6.5, 9.0, "tired"),)
    assert coding.source_name == "visit 1.mp4"


def test_elans_media_offset_moves_codes_to_the_recordings_time(tmp_path):
    coding = read(tmp_path, "v.eaf", EAF.format(origin='TIME_ORIGIN="2500"'))
    assert coding.lanes[0].codes[0] == Code(3.5, 5.0, "smile")


def boris_project(events, offset=0.0, kinds=("State event", "Point event")):
    return {
        "project_format_version": "7.0",
        "behaviors_conf": {
            "0": {"code": "cry", "type": kinds[0], "category": ""},
            "1": {"code": "blink", "type": kinds[1], "category": "eyes"},
        },
        "observations": {
            "visit 1": {
                "type": "MEDIA",
                "time offset": offset,
                "file": {"1": ["D:\\\\films\\\\visit1.mp4"], "2": []},
                "events": events,
            },
            "live": {"type": "LIVE", "file": [], "events": []},
        },
    }


EVENTS = [
    [12.5, "child", "cry", "", "", 300],
    [3.0, "child", "cry", "loud", ""],
    [4.25, "", "blink", "", ""],
    [15.0, "child", "cry", "", ""],
    [9.0, "child", "cry", "loud", "a comment"],
]


@pytest.mark.parametrize("name", ["p.boris", "p.boris.gz"])
def test_a_boris_project_gives_subjects_categories_and_paired_states(tmp_path, name):
    data = json.dumps(boris_project(EVENTS, offset=2.0)).encode()
    coding = read(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    lanes = {(lane.observation, lane.title): lane.codes for lane in coding.lanes}
    assert lanes == {
        ("visit 1", "child behavior"): (Code(1.0, 7.0, "cry"), Code(10.5, 13.0, "cry")),
        ("visit 1", "eyes"): (Code(2.25, 2.25, "blink"),),
    }
    assert coding.source_name == "visit1.mp4"


def test_a_boris_state_that_never_stops_is_named(tmp_path):
    with pytest.raises(TimelineError, match=r"'cry' of child starts at 12\.500 s and never stops"):
        read(tmp_path, "p.boris", json.dumps(boris_project(EVENTS[:1])))


TABULAR_7 = (
    "Observation id\tvisit 1\t\t\t\nMedia file(s)\t\t\t\t\n\nTime offset (s)\t0.0\t\t\t\n\n"
    "Time\tMedia file path\tSubject\tBehavior\tBehavioral category\tComment\tStatus\n"
    "3.300\tv.mp4\tchild\tcry\t\t\tSTART\n7.750\tv.mp4\tchild\tcry\t\t\tSTOP\n"
    "8.000\tv.mp4\tNo focal subject\tnod\t\t\tPOINT\n"
)
AGGREGATED_8 = (
    "Observation id,Time offset (s),Subject,Behavior,Behavioral category,Modifier #1,"
    "Behavior type,Start (s),Stop (s),Duration (s)\n"
    'v,0.5,child,"cry, loud",Not defined,,STATE,1.500,2.750,1.250\n'
    "v,0.5,child,nod,head,,POINT,3.000,3.000,NA\n"
)


def test_boris_tables_old_and_new_are_read(tmp_path):
    old = read(tmp_path, "t.tsv", TABULAR_7)
    assert [(lane.title, lane.codes) for lane in old.lanes] == [
        ("child behavior", (Code(3.3, 7.75, "cry"),)),
        ("behavior", (Code(8.0, 8.0, "nod"),)),
    ]
    new = read(tmp_path, "t.csv", "\ufeff" + AGGREGATED_8)
    assert [(lane.title, lane.codes) for lane in new.lanes] == [
        ("child behavior", (Code(1.0, 2.25, "cry, loud"),)),
        ("child head", (Code(2.5, 2.5, "nod"),)),
    ]


OPF = (
    "#4\n"
    "emotion (MATRIX,true,)-kind|NOMINAL,how|NOMINAL\n"
    "00:00:01:000,00:00:02:500,(smile,big\\, wide)\n"
    "00:00:03:000,00:00:00:000,(cry,)\n"
    "00:01:00:000,01:00:00:001,(<kind>,two\\\nlines)\n"
    "note (TEXT,false,)\n"
    "00:00:05:000,00:00:06:000,a - b\\, c\n"
)


def test_datavyus_escapes_placeholders_and_open_cells_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "d.opf", "w") as archive:
        archive.writestr("d/db", OPF)
        archive.writestr("d/project", "!project\n")
    lanes = {lane.title: lane.codes for lane in read_coding(tmp_path / "d.opf").lanes}
    assert lanes["emotion kind"] == (Code(1.0, 2.5, "smile"), Code(3.0, 3.0, "cry"))
    assert lanes["emotion how"] == (
        Code(1.0, 2.5, "big, wide"),
        Code(60.0, 3600.001, "two\nlines"),
    )
    assert lanes["note"] == (Code(5.0, 6.0, "a - b, c"),)


SHORT = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2.3\n<exists>\n2\n'
    '"IntervalTier"\n"M\u00e4ry"\n0\n2.3\n2\n0\n1.5\n"say ""hi"" 3"\n1.5\n2.3\n""\n'
    '"TextTier"\n"bell"\n0\n2.3\n1\n1e0\n"ding"\n'
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_short_textgrid_is_read_in_every_encoding_of_praat(tmp_path, encoding):
    coding = read(tmp_path, "s.TextGrid", SHORT.encode(encoding))
    assert [(lane.title, lane.codes) for lane in coding.lanes] == [
        ("M\u00e4ry", (Code(0.0, 1.5, 'say "hi" 3'),)),
        ("bell", (Code(1.0, 1.0, "ding"),)),
    ]


BROKEN = {
    "no.eaf": b"not xml",
    "other.eaf": b"<html/>",
    "slot.eaf": EAF.format(origin="")
    .replace('TIME_SLOT_REF1="ts1"', 'TIME_SLOT_REF1="x"')
    .encode(),
    "bomb.eaf": b'<!DOCTYPE a [<!ENTITY b "x">'
    + b"".join(
        b'<!ENTITY b%d "%s">' % (n, b"&b;" * 9 if n == 1 else b"&b%d;" % (n - 1) * 9)
        for n in range(1, 12)
    )
    + b"]><a>&b11;</a>",
    "no.boris": b"{}",
    "list.boris": b"[1, 2]",
    "row.boris": json.dumps(boris_project([[1.0]])).encode(),
    "no.boris.gz": b"plain",
    "no.tsv": b"a\tb\n1\t2\n",
    "clock.tsv": TABULAR_7.replace("3.300", "00:00:03.3").encode(),
    "stop.tsv": TABULAR_7.replace("START", "STOP").encode(),
    "no.opf": b"PK no",
    "no.TextGrid": b'"ooTextFile"\n"Pitch 1"\n',
    "cut.TextGrid": SHORT[:150].encode(),
    "binary.TextGrid": b"ooBinaryFile\x08TextGrid",
    "codes.xlsx": b"PK",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence_that_names_it(tmp_path, name):
    with pytest.raises(TimelineError) as caught:
        read(tmp_path, name, BROKEN[name])
    text = str(caught.value)
    assert name in text and "\n" not in text and text.endswith(".")


def test_an_opf_that_unpacks_to_too_much_or_holds_no_sheet_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.opf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db", b"0" * 65_000_000)
    with pytest.raises(TimelineError, match="larger than 64 MB"):
        read_coding(tmp_path / "bomb.opf")
    with zipfile.ZipFile(tmp_path / "empty.opf", "w") as archive:
        archive.writestr("project", "")
    with pytest.raises(TimelineError, match="no spreadsheet"):
        read_coding(tmp_path / "empty.opf")
