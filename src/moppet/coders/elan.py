"""ELAN's annotation files (.eaf): writes format 3.0, reads older ones too. Times in milliseconds.

Source: EAF Annotation Format 3.0, Max Planck Institute for Psycholinguistics.
"""

from __future__ import annotations

import mimetypes
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path, PureWindowsPath
from typing import Final

import numpy as np

from moppet.coders.codings import Code, Coding, Lane, check_no_overlap, check_titles, milliseconds

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

_Span = tuple[float, float]


def write_elan(coding: Coding, path: Path) -> None:
    """Write a tier for every lane; ELAN finds the recording next to the file.

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
    ET.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


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
    """Return every tier as a lane, in seconds of the first recording; empty values are left out.

    Annotations without their own times get an equal share of their parent annotation.
    Raises ValueError, KeyError or ParseError if the file is not an .eaf.
    """
    root = ET.parse(path).getroot()
    if root.tag != "ANNOTATION_DOCUMENT":
        raise ValueError("it contains no ANNOTATION_DOCUMENT")
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    media = None if header is None else header.find("MEDIA_DESCRIPTOR")
    origin_s = 0.0 if media is None else int(media.get("TIME_ORIGIN") or 0) / 1000
    spans = _spans(root, _UNIT_MS[units])
    lanes = []
    for tier in root.iter("TIER"):
        codes = [
            Code(spans[name][0] + origin_s, spans[name][1] + origin_s, label)
            for name, label in _values(tier)
            if name in spans
        ]
        lanes.append(Lane(tier.attrib["TIER_ID"], tuple(codes)))
    url = "" if media is None else media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or ""
    return Coding(tuple(lanes), PureWindowsPath(url).name or None)  # it splits at / and at \


def _values(tier: ET.Element) -> Iterator[tuple[str, str]]:
    for annotation in tier.iterfind("ANNOTATION/*"):
        label = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
        if label:
            yield annotation.attrib["ANNOTATION_ID"], label


def _spans(root: ET.Element, unit_ms: float) -> dict[str, _Span]:
    """Return start and end of every annotation, in seconds, by its id."""
    slots = {
        slot.attrib["TIME_SLOT_ID"]: int(value) * unit_ms / 1000
        if (value := slot.get("TIME_VALUE"))
        else None
        for slot in root.iterfind("TIME_ORDER/TIME_SLOT")
    }
    spans: dict[str, _Span] = {}
    waiting: dict[str, list[str]] = {}
    for tier in root.iter("TIER"):
        spans |= _aligned(tier, slots)
        children: dict[str, list[str]] = {}
        for annotation in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
            parent = annotation.attrib["ANNOTATION_REF"]
            children.setdefault(parent, []).append(annotation.attrib["ANNOTATION_ID"])
        waiting |= {f"{tier.get('TIER_ID')}\0{key}": names for key, names in children.items()}
    # A parent may itself depend on another: repeat until nothing new is found.
    while ready := {key: n for key, n in waiting.items() if key.partition("\0")[2] in spans}:
        for key, names in ready.items():
            spans |= _shared(names, *spans[key.partition("\0")[2]])
            del waiting[key]
    return spans


def _aligned(tier: ET.Element, slots: Mapping[str, float | None]) -> dict[str, _Span]:
    """Return the annotations with time slots; slots without a time are spread evenly."""
    found: dict[str, _Span] = {}
    chain: list[str] = []
    start_s = 0.0
    for annotation in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
        first = slots[annotation.attrib["TIME_SLOT_REF1"]]
        last = slots[annotation.attrib["TIME_SLOT_REF2"]]
        if first is not None:
            chain, start_s = [], first
        chain.append(annotation.attrib["ANNOTATION_ID"])
        if last is not None:
            found |= _shared(chain, start_s, last)
            chain, start_s = [], last
    return found


def _shared(names: Sequence[str], start_s: float, end_s: float) -> dict[str, _Span]:
    """Return equal parts of a span, one for each annotation."""
    edges = np.linspace(start_s, end_s, len(names) + 1).tolist()
    return dict(zip(names, pairwise(edges), strict=True))
