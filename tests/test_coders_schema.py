"""What moppet writes for ELAN, against the rules of its schema EAFv3.0.xsd, told in our words.

The schema itself is not ours to ship. The rules below are those of every element that moppet
writes; an element or attribute that they do not name is a breach, too.
"""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pympi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.coders import Code, Coding, Lane, read_coding, write_program
from moppet.coders.timeline_coding import coding_of
from report_samples import two_people


class Rule(NamedTuple):
    """children: in this order, each with the least and the most; attributes: name → kind."""

    children: dict[str, tuple[int, float]] = {}
    needed: dict[str, str] = {}
    allowed: dict[str, str] = {}
    has_text: bool = False


MANY = float("inf")
RULES = {
    "ANNOTATION_DOCUMENT": Rule(
        {"HEADER": (1, 1), "TIME_ORDER": (1, 1), "TIER": (0, MANY), "LINGUISTIC_TYPE": (0, MANY)},
        {"DATE": "moment", "AUTHOR": "text", "VERSION": "text"},
        {"FORMAT": "text"},
    ),
    "HEADER": Rule(
        {"MEDIA_DESCRIPTOR": (0, MANY), "PROPERTY": (0, MANY)},
        allowed={"MEDIA_FILE": "text", "TIME_UNITS": "unit"},
    ),
    "MEDIA_DESCRIPTOR": Rule(
        needed={"MEDIA_URL": "text", "MIME_TYPE": "text"},
        allowed={"RELATIVE_MEDIA_URL": "text", "TIME_ORIGIN": "whole"},
    ),
    "PROPERTY": Rule(allowed={"NAME": "text"}, has_text=True),
    "TIME_ORDER": Rule({"TIME_SLOT": (0, MANY)}),
    "TIME_SLOT": Rule(needed={"TIME_SLOT_ID": "id"}, allowed={"TIME_VALUE": "count"}),
    "TIER": Rule(
        {"ANNOTATION": (0, MANY)},
        {"TIER_ID": "text", "LINGUISTIC_TYPE_REF": "text"},
        {"PARTICIPANT": "text", "ANNOTATOR": "text", "PARENT_REF": "text"},
    ),
    "ANNOTATION": Rule({"ALIGNABLE_ANNOTATION": (1, 1)}),
    "ALIGNABLE_ANNOTATION": Rule(
        {"ANNOTATION_VALUE": (1, 1)},
        {"ANNOTATION_ID": "id", "TIME_SLOT_REF1": "ref", "TIME_SLOT_REF2": "ref"},
    ),
    "ANNOTATION_VALUE": Rule(has_text=True),
    "LINGUISTIC_TYPE": Rule(
        needed={"LINGUISTIC_TYPE_ID": "text"},
        allowed={"TIME_ALIGNABLE": "truth", "GRAPHIC_REFERENCES": "truth", "CONSTRAINTS": "ref"},
    ),
}
SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
NAME = r"[A-Za-z_][\w.-]*"
KINDS = {
    "text": r"(?s).*",
    "id": NAME,
    "ref": NAME,
    "whole": r"-?\d+",
    "count": r"\d+",
    "truth": "true|false|0|1",
    "unit": "NTSC-frames|PAL-frames|milliseconds",
    "moment": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?",
}


def breaches(root):
    """What a document breaks of the rules: one line for each."""
    if root.tag != "ANNOTATION_DOCUMENT":
        return [f"the root is {root.tag}"]
    return [*of_elements(root), *of_references(root)]


def of_elements(root):
    for element in root.iter():
        rule = RULES.get(element.tag)
        if rule is None:
            yield f"{element.tag} is no element"
            continue
        tags = [child.tag for child in element]
        places = [list(rule.children).index(tag) for tag in tags if tag in rule.children]
        if places != sorted(places):
            yield f"{element.tag} has its children out of order"
        yield from (f"{element.tag} holds {tag}" for tag in tags if tag not in rule.children)
        for tag, (least, most) in rule.children.items():
            if not least <= tags.count(tag) <= most:
                yield f"{element.tag} has {tags.count(tag)} {tag}"
        if not rule.has_text and (element.text or "").strip():
            yield f"{element.tag} has text"
        kinds = rule.needed | rule.allowed
        missing = rule.needed.keys() - element.attrib.keys()
        yield from (f"{element.tag} lacks {name}" for name in missing)
        for name, value in element.attrib.items():
            if name == SCHEMA:
                continue
            if name not in kinds:
                yield f"{element.tag} has {name}"
            elif not re.fullmatch(KINDS[kinds[name]], value):
                yield f"{element.tag} {name} is {value!r}"
            elif kinds[name] == "count" and int(value) >= 2**32:
                yield f"{element.tag} {name} is too large"
            elif kinds[name] == "moment":
                datetime.fromisoformat(value)


def of_references(root):
    ids = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name in ("TIME_SLOT_ID", "ANNOTATION_ID")
    ]
    yield from (f"the id {one} stands twice" for one in set(ids) if ids.count(one) > 1)
    slots = {slot.get("TIME_SLOT_ID") for slot in root.iter("TIME_SLOT")}
    for annotation in root.iter("ALIGNABLE_ANNOTATION"):
        for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"):
            if annotation.get(name) not in slots:
                yield f"{name} {annotation.get(name)} is no time slot"
    tiers = [tier.get("TIER_ID") for tier in root.iter("TIER")]
    yield from (f"the tier {one!r} stands twice" for one in set(tiers) if tiers.count(one) > 1)
    types = [one.get("LINGUISTIC_TYPE_ID") for one in root.iter("LINGUISTIC_TYPE")]
    yield from (f"the type {one!r} stands twice" for one in set(types) if types.count(one) > 1)
    for tier in root.iter("TIER"):
        if tier.get("LINGUISTIC_TYPE_REF") not in types:
            yield f"LINGUISTIC_TYPE_REF {tier.get('LINGUISTIC_TYPE_REF')} is no type"
        if tier.get("PARENT_REF", tiers[0]) not in tiers:
            yield f"PARENT_REF {tier.get('PARENT_REF')} is no tier"


def written(coding, folder):
    (path,) = write_program(coding, Path(folder), "clip", "elan")
    return path


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    coding = coding_of(two_people(), made_at="2026-01-02T03:04:05Z")
    return written(coding, tmp_path_factory.mktemp("eaf")).read_text("utf-8")


def test_a_timelines_eaf_keeps_to_the_schema(document):
    root = ET.fromstring(document)
    assert breaches(root) == []
    assert root.get("FORMAT") == root.get("VERSION") == "3.0"
    assert root.get(SCHEMA) == "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def test_no_two_annotations_share_a_time_slot_and_slots_are_in_order_of_time(document):
    root = ET.fromstring(document)
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE")) for s in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    aligned = list(root.iter("ALIGNABLE_ANNOTATION"))
    used = [a.get(f"TIME_SLOT_REF{n}") for a in aligned for n in (1, 2)]
    assert sorted(used) == sorted(slots)
    assert all(slots[a.get("TIME_SLOT_REF1")] < slots[a.get("TIME_SLOT_REF2")] for a in aligned)


TEXT = st.text(max_size=12)


@st.composite
def lanes(draw):
    titles = draw(st.lists(TEXT.filter(str.strip), max_size=4, unique_by=clean))
    found = []
    for title in titles:
        at, codes = 0, []
        for length in draw(st.lists(st.integers(0, 5000), max_size=4)):
            codes.append(Code(at / 1000, (at + length) / 1000, draw(TEXT)))
            at += length + 1
        found.append(Lane(title, tuple(codes)))
    return Coding(tuple(found), draw(st.none() | TEXT), 60.0, 25.0)


def clean(text):
    """Text as a reader of XML gives it back: what XML cannot hold replaced, spaces as one."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


@given(lanes())
@settings(max_examples=80, deadline=None)
def test_any_text_makes_a_valid_eaf(coding):
    with tempfile.TemporaryDirectory() as folder:
        path = written(coding, folder)
        assert breaches(ET.parse(path).getroot()) == []
        titles = [lane.title for lane in read_coding(path).lanes]
    assert titles == [clean(lane.title) for lane in coding.lanes]


@pytest.mark.parametrize(
    "coding", [Coding(()), Coding((Lane("x", ()),)), Coding((Lane("x", (Code(0, 0, "a"),)),))]
)
def test_an_eaf_of_nothing_or_of_one_point_is_valid(tmp_path, coding):
    assert breaches(ET.parse(written(coding, tmp_path)).getroot()) == []


def test_what_pympi_writes_keeps_to_these_rules_but_for_elements_that_we_never_write(tmp_path):
    # So the rules are ELAN's, not only ours: pympi writes files that ELAN opens.
    eaf = pympi.Elan.Eaf(author="pympi")
    eaf.add_tier("child", part="P1")
    eaf.add_annotation("child", 100, 2500, "smile")
    eaf.to_file(str(tmp_path / "p.eaf"))
    found = breaches(ET.parse(tmp_path / "p.eaf").getroot())
    assert {line for line in found if "LOCALE" not in line and "CONSTRAINT" not in line} <= {
        "ANNOTATION_DOCUMENT holds LANGUAGE",
        "LANGUAGE is no element",
    }


BROKEN = {
    "a slot that is missing": ('TIME_SLOT_ID="ts1"', 'TIME_SLOT_ID="other"', "is no time slot"),
    "an id that stands twice": ('ANNOTATION_ID="a1"', 'ANNOTATION_ID="a2"', "stands twice"),
    "an id of a slot and an annotation": ('ANNOTATION_ID="a1"', 'ANNOTATION_ID="ts1"', "twice"),
    "an id that begins with a digit": ('ANNOTATION_ID="a1"', 'ANNOTATION_ID="1"', "is '1'"),
    "a type that is missing": ('LINGUISTIC_TYPE_ID="moppet"', 'LINGUISTIC_TYPE_ID="x"', "no type"),
    "a time with a fraction": ('TIME_VALUE="0"', 'TIME_VALUE="0.5"', "TIME_VALUE is '0.5'"),
    "a date without a time": ("2026-01-02T03:04:05Z", "2026-01-02", "DATE is"),
    "a unit of its own": ('TIME_UNITS="milliseconds"', 'TIME_UNITS="seconds"', "TIME_UNITS is"),
    "an attribute of its own": ('AUTHOR="moppet"', 'AUTHOR="moppet" CREATOR="me"', "has CREATOR"),
    "no author": ('AUTHOR="moppet"', "", "lacks AUTHOR"),
    "the order turned round": ("<TIME_ORDER>", "<TIER/><TIME_ORDER>", "out of order"),
    "no header": ("HEADER", "HEAD", "has 0 HEADER"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_rules_see_a_breach(document, name):
    old, new, says = BROKEN[name]
    assert old in document
    count = -1 if name == "no header" else 1
    found = breaches(ET.fromstring(document.replace(old, new, count)))
    assert any(says in line for line in found), found


def test_a_recordings_name_that_is_no_unicode_is_still_exported(tmp_path):
    timeline = two_people()
    odd = replace(timeline, metadata={**timeline.metadata, "source_name": "caf\udce9.mp4"})
    for program in ("elan", "boris", "datavyu", "textgrid"):
        for path in write_program(coding_of(odd), tmp_path, "clip", program):
            assert read_coding(path).lanes
    assert read_coding(tmp_path / "clip.eaf").source_name == "caf?.mp4"
