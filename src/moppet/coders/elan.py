"""ELAN's annotation files (.eaf): writes format 3.0, reads older ones too. Times in milliseconds.

Source: EAF Annotation Format 3.0, Max Planck Institute for Psycholinguistics.
"""

from __future__ import annotations

import mimetypes
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, Final
from urllib.parse import unquote
from xml.parsers import expat

import numpy as np

from moppet.coders.codings import (
    NO_TIME,
    NO_VALUE,
    Code,
    Coding,
    Lane,
    Medium,
    check_marks,
    check_no_overlap,
    check_titles,
    counted,
    milliseconds,
    read_content,
)

_SCHEMA: Final = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE: Final = "moppet"
_UNIT_MS: Final = {
    "milliseconds": 1.0,
    "PAL-frames": 40.0,
    "PAL-50-frames": 20.0,
    "NTSC-frames": 1001 / 30,
}
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot contain, even escaped."""

_MOST_LEVELS: Final = 50
"""Elements of an .eaf lie at most six deep."""

_Span = tuple[float, float]


def elan_file(coding: Coding) -> bytes:
    """Return a file with a tier for every lane; ELAN finds the recording next to the file.

    ELAN has no points: a code without length lasts one millisecond. Characters that XML cannot
    contain are replaced.
    Raises TimelineError for overlapping codes in a lane, or two lanes with the same name.
    """
    check_titles([lane.title for lane in coding.lanes], "tiers of an .eaf")
    root = ET.Element("ANNOTATION_DOCUMENT")
    root.attrib |= {
        "AUTHOR": "moppet",
        "DATE": coding.made_at,
        "FORMAT": "3.0",
        "VERSION": "3.0",
        "xmlns:xsi": _XSI,
        "xsi:noNamespaceSchemaLocation": _SCHEMA,
    }
    times_ms = [time for lane in coding.lanes for span in _spans_ms(lane) for time in span]
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if name := coding.source_name:
        mime = mimetypes.guess_type(name)[0] or "unknown"
        media = {"MEDIA_URL": f"./{name}", "MIME_TYPE": mime, "RELATIVE_MEDIA_URL": f"./{name}"}
        ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(len(times_ms) // 2)
    slots = iter(_add_slots(ET.SubElement(root, "TIME_ORDER"), times_ms))
    numbers = count(1)
    for lane in coding.lanes:
        tier = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=lane.title)
        if lane.person:
            tier.set("PARTICIPANT", lane.person)
        for code in lane.codes:
            about = {"ANNOTATION_ID": f"a{next(numbers)}"}
            about |= {"TIME_SLOT_REF1": next(slots), "TIME_SLOT_REF2": next(slots)}
            annotation = ET.SubElement(tier, "ANNOTATION")
            aligned = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", about)
            ET.SubElement(aligned, "ANNOTATION_VALUE").text = code.label
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true"}
    ET.SubElement(root, "LINGUISTIC_TYPE", kind)
    for element in root.iter():
        element.text = element.text and _NO_XML.sub("\N{REPLACEMENT CHARACTER}", element.text)
        for key, value in element.attrib.items():
            element.set(key, _NO_XML.sub("\N{REPLACEMENT CHARACTER}", value))
    ET.indent(root, " ")
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _spans_ms(lane: Lane) -> list[tuple[int, int]]:
    check_no_overlap(lane, "ELAN")
    starts = [milliseconds(code.start_s) for code in lane.codes]
    ends = [milliseconds(code.end_s) for code in lane.codes]
    return [(start, max(end, start + 1)) for start, end in zip(starts, ends, strict=True)]


def _add_slots(order: ET.Element, times_ms: Sequence[int]) -> list[str]:
    """Add a slot for every time, sorted by time; return the slot names in the order given.

    Annotations share no slots: in ELAN, moving the edge of one would also move the other.
    """
    names = [""] * len(times_ms)
    for number, at in enumerate(sorted(range(len(times_ms)), key=times_ms.__getitem__), 1):
        names[at] = f"ts{number}"
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=names[at], TIME_VALUE=str(times_ms[at]))
    return names


def read_elan(path: Path) -> Coding:
    """Return every tier as a lane, in seconds of the first recording.

    Annotations without their own times get an equal share of their parent annotation. If no
    annotation of a tier has a value, the tier's name is their label; otherwise, those without a
    value are counted in `Lane.left_out`, as are those without a time.
    Raises ValueError, KeyError or ExpatError if the file is not an .eaf.
    """
    root = parse_xml(read_content(path))
    if root.tag != "ANNOTATION_DOCUMENT":
        raise ValueError("it contains no ANNOTATION_DOCUMENT")
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units not in _UNIT_MS:
        raise ValueError(f"its times are in {units!r}, not in {', '.join(_UNIT_MS)}")
    found = [] if header is None else header.findall("MEDIA_DESCRIPTOR")
    media = _media(found)
    origin_s = _origin_s(found[0]) if found else 0.0
    tiers = [_Tier(tier) for tier in root.iter("TIER")]
    _set_times(tiers, _slots(root, _UNIT_MS[units]))
    lanes = tuple(_lane(tier, origin_s) for tier in tiers)
    return Coding(lanes, media[0].name if media else None, media=media)


def parse_xml(data: bytes) -> ET.Element:
    """Return the root of a document without a DOCTYPE, so that no entity can blow up its size.

    Raises ValueError for a DOCTYPE, elements that nest too deep, and more elements and attributes
    than a file of MOST_CODES has; ExpatError for damaged XML.
    """
    check_marks(data, (b"<", b"="))
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    level = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal level
        level += 1
        if level > _MOST_LEVELS:
            raise ValueError(f"its elements nest more than {_MOST_LEVELS} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal level
        level -= 1
        builder.end(tag)

    def refuse(*_: Any) -> None:
        raise ValueError("it has a DOCTYPE, which files of ELAN never have")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    parser.Parse(data, True)
    return builder.close()


def _media(descriptors: Sequence[ET.Element]) -> tuple[Medium, ...]:
    """Return the media; each begins at its TIME_ORIGIN before the times of the annotations."""
    media = []
    for number, one in enumerate(descriptors, 1):
        url = one.get("RELATIVE_MEDIA_URL") or one.get("MEDIA_URL") or ""
        if url.startswith("file:"):
            url = unquote(url)
        name = PureWindowsPath(url).name  # it splits at / and at \
        start_s = _origin_s(descriptors[0]) - _origin_s(one)
        is_sound = one.get("MIME_TYPE", "").startswith("audio/")
        if name:
            media.append(Medium(name, player=number, start_s=start_s, is_sound=is_sound))
    return tuple(media)


def _origin_s(descriptor: ET.Element) -> float:
    return int(descriptor.get("TIME_ORIGIN") or 0) / 1000


@dataclass(eq=False)
class _Annotation:
    """An annotation: its times in seconds are set after all tiers are known."""

    element: ET.Element
    label: str
    span: _Span | None = None

    @property
    def name(self) -> str:
        return self.element.attrib["ANNOTATION_ID"]


@dataclass
class _Tier:
    """A tier with its annotations with and without time slots, in order of the document."""

    element: ET.Element
    aligned: list[_Annotation] = field(init=False)
    dependent: list[_Annotation] = field(init=False)

    def __post_init__(self) -> None:
        self.aligned = self._read("ALIGNABLE_ANNOTATION")
        self.dependent = self._read("REF_ANNOTATION")

    def _read(self, kind: str) -> list[_Annotation]:
        return [
            _Annotation(one, (one.findtext("ANNOTATION_VALUE") or "").strip())
            for one in self.element.iterfind(f"ANNOTATION/{kind}")
        ]


def _lane(tier: _Tier, origin_s: float) -> Lane:
    name = tier.element.attrib["TIER_ID"]
    annotations = [*tier.aligned, *tier.dependent]
    labeled = any(one.label for one in annotations) or not annotations
    codes = []
    left_out: dict[str, int] = {}
    for one in annotations:
        label = one.label if labeled else name
        if not label:
            left_out = counted(left_out, {NO_VALUE: 1})
        elif one.span is None:
            left_out = counted(left_out, {NO_TIME: 1})
        else:
            codes.append(Code(one.span[0] + origin_s, one.span[1] + origin_s, label))
    parent = tier.element.get("PARENT_REF") or ""
    return Lane(name, tuple(codes), parent=parent, left_out=left_out, is_presence=not labeled)


@dataclass(frozen=True)
class _Slot:
    """A time slot: its position in the document, and its time in seconds if it has one."""

    number: int
    time_s: float | None


def _slots(root: ET.Element, unit_ms: float) -> dict[str, _Slot]:
    slots = root.iterfind("TIME_ORDER/TIME_SLOT")
    return {
        slot.attrib["TIME_SLOT_ID"]: _Slot(
            number,
            int(value) * unit_ms / 1000 if (value := slot.get("TIME_VALUE")) else None,
        )
        for number, slot in enumerate(slots)
    }


def _set_times(tiers: Sequence[_Tier], slots: Mapping[str, _Slot]) -> None:
    """Set the times of all annotations that have slots, or a parent with times."""
    for tier in tiers:
        for chain in _chains(tier.aligned, slots):
            start_s = slots[chain[0].element.attrib["TIME_SLOT_REF1"]].time_s
            end_s = slots[chain[-1].element.attrib["TIME_SLOT_REF2"]].time_s
            if start_s is not None and end_s is not None:
                _share(chain, start_s, end_s)
    known = {one.name: one for tier in tiers for one in tier.aligned}
    waiting: dict[str, list[list[_Annotation]]] = {}
    for tier in tiers:
        families: dict[str, list[_Annotation]] = {}
        for one in tier.dependent:
            families.setdefault(one.element.attrib["ANNOTATION_REF"], []).append(one)
        for parent, children in families.items():
            waiting.setdefault(parent, []).append(list(_in_order(children)))
    # A parent may itself depend on another: go on from those that became known.
    ready = list(known.values())
    while ready:
        parent_annotation = ready.pop()
        if parent_annotation.span is None:
            continue
        for children in waiting.pop(parent_annotation.name, ()):
            _share(children, *parent_annotation.span)
            ready += children


def _chains(
    aligned: Sequence[_Annotation], slots: Mapping[str, _Slot]
) -> Iterator[list[_Annotation]]:
    """Yield runs of annotations that touch in slots without times, in order of time.

    Annotations touch by sharing a slot; in files where each has its own, TIME_ORDER tells the
    order of the slots.
    """

    def slot(one: _Annotation, end: str) -> _Slot:
        return slots[one.element.attrib[f"TIME_SLOT_REF{end}"]]

    def next_free(candidates: list[_Annotation]) -> _Annotation | None:
        while candidates and id(candidates[-1]) in used:
            candidates.pop()
        return candidates[-1] if candidates else None

    ordered = sorted(aligned, key=lambda one: slot(one, "1").number)
    place = {id(one): at for at, one in enumerate(ordered)}
    starting: dict[int, list[_Annotation]] = {}
    for one in reversed(ordered):
        starting.setdefault(slot(one, "1").number, []).append(one)
    used: set[int] = set()
    for first in ordered:
        if id(first) in used or slot(first, "1").time_s is None:
            continue
        chain: list[_Annotation] = []
        after: _Annotation | None = first
        while after is not None:
            chain.append(after)
            used.add(id(after))
            if slot(after, "2").time_s is not None:
                break
            at = place[id(after)] + 1
            after = next_free(starting.get(slot(after, "2").number, []))
            if after is None and at < len(ordered) and slot(ordered[at], "1").time_s is None:
                after = next_free([ordered[at]])
        yield chain


def _in_order(children: Iterable[_Annotation]) -> Iterator[_Annotation]:
    """Yield the annotations of one parent, each after its PREVIOUS_ANNOTATION."""
    children = list(children)
    names = {one.name for one in children}
    after: dict[str, list[_Annotation]] = {}
    for one in children:
        previous = one.element.get("PREVIOUS_ANNOTATION") or ""
        after.setdefault(previous if previous in names else "", []).append(one)
    stack = after.pop("", [])[::-1]
    while stack or after:
        if not stack:  # a circle: it has no first one
            stack = after.pop(next(iter(after)))[::-1]
        one = stack.pop()
        yield one
        stack += after.pop(one.name, [])[::-1]


def _share(annotations: Sequence[_Annotation], start_s: float, end_s: float) -> None:
    """Give the annotations equal parts of a span."""
    edges = np.linspace(start_s, end_s, len(annotations) + 1).tolist()
    for one, span in zip(annotations, pairwise(edges), strict=True):
        one.span = span
