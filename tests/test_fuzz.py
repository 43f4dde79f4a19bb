"""Every reader of ours answers damaged, hostile or foreign content with a result or one sentence.

Each sample is a file that moppet writes or reads. Hypothesis alters it: bytes are cut, flipped,
doubled and removed, values of JSON and TOML replaced by odd ones. The reader, and what shows the
result, may then succeed or raise a MoppetError; any other exception fails. `make torture` runs the
same with many more examples.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_folder import write_model
from moppet import load_model
from moppet.coders.media import Recording, place
from moppet.coders.programs import read_coding, write_program, write_programs
from moppet.coders.time_units import Units, human_track
from moppet.guard.rules import parse_rules, read_guard
from moppet.pages.report import build_page
from moppet.synthesis.settings import read_settings
from moppet.timeline import read_timeline
from moppet.timeline.annotations import (
    add_correction,
    corrections_path,
    read_annotated,
    read_corrections,
)
from moppet.timeline.people import people_path, read_people
from moppet.values import MoppetError
from report_samples import two_people
from test_coders_media import BOTH, VIDEO, aggregated, eaf, project, turns

DEEP = 100_000
ODD: list[Any] = [
    None, True, 0, -1, 0.5, 2**31, 2**70, 10**400, 1e308, -1e308, float("nan"), float("inf"),
    "", "x", "neutral", "a\0b", "\ud800", "\u202e", "</script>", "9" * 5000, "x" * 100_000,
    [], {}, [[]], [1, "a", None], {"a": {"b": []}}, {"0": 1}, [{}],
]  # fmt: skip


class Sample(NamedTuple):
    """A file, the name under which it is read, and what reads and shows it."""

    file: str
    use: Callable[[Path], object]


def use_timeline(path: Path) -> None:
    timeline = read_timeline(path)
    timeline.summary()
    assert "</html>" in build_page(timeline, [])
    timeline.write(path.with_name("again.json"))
    export(path, "again")


def export(timeline: Path, stem: str) -> None:
    """Write a timeline for every program."""
    programs = ["elan", "boris", "datavyu", "textgrid"]
    write_programs(read_annotated(timeline), timeline.parent, stem, programs, 0.0)


def use_coding(path: Path) -> None:
    """Read a coder's file, take the codes of its second medium, and write them again."""
    coding = read_coding(path)
    placed = place(coding, path, Recording("visit.mp4", 120.0)).coding
    for lane in placed.lanes:
        human_track(lane, "a", Units(0.0, 0.5, 40), ["x"], rename=lambda _: "x")
    write_program(replace(placed, lanes=placed.lanes[:1]), path.parent, "again", "datavyu")


def use_model(card: Path) -> None:
    load_model(card.parent)


def use_recipe(path: Path) -> None:
    from moppet.train.recipe import read_recipe

    read_recipe(path)


def use_study(path: Path) -> None:
    from moppet.study.plan import read_plan

    read_plan(path)


def use_manifest(path: Path) -> None:
    from moppet.datasets.audit import count_rows
    from moppet.datasets.manifest import read_manifest

    count_rows(read_manifest(path), "label", "split")


SAMPLES = {
    "timeline.json": Sample("t.json", use_timeline),
    "timeline.csv": Sample("t.csv", use_timeline),
    "timeline.csv's metadata": Sample("t.meta.json", lambda p: use_timeline(p.with_name("t.csv"))),
    "timeline.parquet": Sample("t.parquet", use_timeline),
    "people.json": Sample("t.people.json", read_people),
    "corrections.jsonl": Sample("t.corrections.jsonl", read_corrections),
    "ELAN": Sample("c.eaf", use_coding),
    "ELAN of several media": Sample("m.eaf", use_coding),
    "BORIS": Sample("c.boris", use_coding),
    "BORIS of several media": Sample("m.boris", use_coding),
    "BORIS table": Sample("c_aggregated.tsv", use_coding),
    "BORIS table of events": Sample("c_tabular.tsv", use_coding),
    "BORIS table of several media": Sample("m.tsv", use_coding),
    "Datavyu": Sample("c.opf", use_coding),
    "TextGrid": Sample("c.TextGrid", use_coding),
    "chronological TextGrid": Sample("m.TextGrid", use_coding),
    "guard rules": Sample("guard.toml", read_guard),
    "model card": Sample("model/card.toml", use_model),
    "network": Sample("model/model.onnx", lambda p: use_model(p.with_name("card.toml"))),
    "synthesis settings": Sample("synthesis.toml", read_settings),
    "training recipe": Sample("recipe.toml", use_recipe),
    "study recipe": Sample("study.toml", use_study),
    "manifest": Sample("faces.parquet", use_manifest),
}
GUARD = """
rules = ["negative >= 60 % for 4 s -> pause", "no face for 3 s -> alert"]
cooldown_s = 5
child = "largest"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole sample of each kind."""
    root = tmp_path_factory.mktemp("samples")
    timeline = two_people()
    for kind in ("json", "csv", "parquet"):
        timeline.write(root / f"t.{kind}")
    people_path(root / "t.parquet").write_text(
        '{"persons": [{"name": "Ann", "role": "child", "pieces": '
        '[{"face": 0, "from_s": 0, "to_s": null}]}]}'
    )
    add_correction(
        corrections_path(root / "t.parquet"),
        face_id=0, start_s=1.0, end_s=2.0, label="sadness", by="A", at="2026-11-30",
    )  # fmt: skip
    export(root / "t.parquet", "c")
    media = [("room.mp4", 0, VIDEO), ("visit.mp4", 4000, VIDEO)]
    (root / "m.eaf").write_text(eaf(turns(), media), "utf-8")
    two_files = project(BOTH, {1: ["part1.mp4", "visit.mp4"]})
    (root / "m.boris").write_text(json.dumps(two_files), "utf-8")
    (root / "m.tsv").write_text(aggregated(BOTH), "utf-8")
    (root / "m.TextGrid").write_text(
        '"Praat chronological TextGrid text file"\n0 9\n1\n"TextTier" "a" 0 9\n1 2.\n"x"\n'
    )
    write_model(root / "model")
    (root / "guard.toml").write_text(GUARD)
    (root / "synthesis.toml").write_text('method = "vae"\nseed = 3\n')
    (root / "recipe.toml").write_text('name = "n"\ndata = "faces"\nepochs = 3\n')
    return root


def replaced(document: Any, choose: Callable[[int], int], odd: Any) -> Any:
    """A copy of a JSON document in which one value, or one key, is another."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return odd
    holder, key = places[choose(len(places))]
    holder[key] = odd
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in list(pairs):
        yield value, key
        if isinstance(child, dict | list):
            yield from list(_places(child))[:50]


def damaged(data: bytes, draw: st.DataObject) -> bytes:
    """Bytes with some cut, flipped, doubled or removed."""
    found = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 6))):
        if not found:
            break
        at = draw.draw(st.integers(0, len(found) - 1))
        kind = draw.draw(st.sampled_from(["flip", "cut", "double", "remove", "odd"]))
        end = min(len(found), at + draw.draw(st.integers(1, 200)))
        if kind == "flip":
            found[at] ^= 1 << draw.draw(st.integers(0, 7))
        elif kind == "cut":
            del found[at:]
        elif kind == "double":
            found[at:at] = found[at:end]
        elif kind == "remove":
            del found[at:end]
        else:
            odd = draw.draw(st.sampled_from([b"\0", b"\xff\xfe", b"1e999", b"nan", b"[" * 2000]))
            found[at:end] = odd
    return bytes(found)


def dumped(document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def check(sample: Sample, folder: Path, data: bytes) -> None:
    """Read the sample with this content: a result, or one sentence."""
    place = folder / sample.file
    whole = place.read_bytes()
    try:
        place.write_bytes(data)
        sample.use(place)
    except MoppetError as error:
        text = str(error)
        assert text.endswith((".", "?", "!")) and len(text) < 3000, text
        assert text.replace("\n  ", "").isprintable(), repr(text)
    finally:
        place.write_bytes(whole)


common = settings(
    max_examples=int(os.environ.get("MOPPET_FUZZ_EXAMPLES", "15")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def sample_in(folder: Path, name: str) -> Sample:
    if not (folder / SAMPLES[name].file).exists():
        pytest.skip(f"no sample of {name}")
    return SAMPLES[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_bytes_are_read_or_refused_in_one_sentence(folder: Path, name: str) -> None:
    sample = sample_in(folder, name)
    whole = (folder / sample.file).read_bytes()
    sample.use(folder / sample.file)

    @common
    @given(st.data())
    def run(draw: st.DataObject) -> None:
        check(sample, folder, damaged(whole, draw))

    run()


JSON = [name for name, sample in SAMPLES.items() if sample.file.endswith((".json", ".boris"))]


@pytest.mark.parametrize("name", JSON)
def test_odd_values_are_read_or_refused_in_one_sentence(folder: Path, name: str) -> None:
    sample = sample_in(folder, name)
    whole = json.loads((folder / sample.file).read_bytes())

    @common
    @given(st.data())
    def run(draw: st.DataObject) -> None:
        odd = draw.draw(st.sampled_from(ODD))
        document = replaced(whole, lambda n: draw.draw(st.integers(0, n - 1)), odd)
        check(sample, folder, dumped(document))

    run()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"3", b"{}", b'"x"', b"NaN", b"\xff\xfe\0", b"\xef\xbb\xbf{}",
        b"[" * DEEP, b'{"a":' * DEEP, b"a = " + b"[" * DEEP, b"a." * 30_000 + b"b=1",
        b"9" * 100_000, b'{"persons":' + b"[" * DEEP, b"<a>" * DEEP, b"PAR1" + b"\xff" * 60,
    ],
    ids=lambda content: f"{content[:8]!r}-{len(content)}",
)  # fmt: skip
def test_foreign_content_is_refused_in_one_sentence(
    folder: Path, name: str, content: bytes
) -> None:
    check(sample_in(folder, name), folder, content)


@common
@given(st.text(max_size=60) | st.sampled_from(["negative >= nan % for 4 s -> pause", "(" * 5000,
    "negative >= 60 % for 1e999 s -> pause", "9" * 5000 + " % for 1 s -> alert"]))  # fmt: skip
def test_guard_rules_of_any_text_are_read_or_refused(text: str) -> None:
    try:
        parse_rules([text])
    except MoppetError as error:
        assert str(error).isprintable()
