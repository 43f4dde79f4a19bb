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
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_folder import write_model
from moppet import load_model
from moppet.coders.media import Recording, place
from moppet.coders.programs import read_coding, write_program, write_programs
from moppet.coders.time_units import Units, human_track
from moppet.datasets.manifest import build_manifest
from moppet.guard.event_log import read_log
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
from moppet.timeline.journal import Journal, read_journal, read_state
from moppet.timeline.people import people_path, read_people
from moppet.values import MoppetError
from report_samples import two_people
from test_coders_media import BOTH, VIDEO, aggregated, eaf, project, turns

PROJECT = Path(__file__).parents[1]
NETWORKS_STUDY, CLASSIFIER_STUDY = "child-happy-sad", "infant-hybrid"
DEEP = 100_000
MISSING = object()
ODD: list[Any] = [
    MISSING,
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
    annotated = read_annotated(path)
    annotated.timeline.summary()
    assert "</html>" in build_page(annotated, [])
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

    manifest = read_manifest(path)
    count_rows(manifest, "label", "split")
    assert manifest.soft_labels.shape == (len(manifest), len(manifest.names))
    assert len(list(manifest.images())) == len(manifest)


def use_table(path: Path) -> None:
    from moppet.datasets.audit import count_rows
    from moppet.datasets.readers import read_dataset

    count_rows(read_dataset(path, "csv", allow_missing=True), "label", "split")


def use_images(path: Path) -> None:
    from moppet.datasets.row_images import read_array_row

    read_array_row(path, 1)


def use_card(path: Path) -> None:
    from moppet.pages.card import write_model_card

    evaluation = path if path.name == "evaluation.json" else None
    written = write_model_card(str(path.parent), path.parent / "card", evaluation)
    assert "</html>" in written[1].read_text(encoding="utf-8")


def use_results(path: Path) -> None:
    from moppet.study.engine import write_page
    from moppet.study.ledger import read_results
    from moppet.study.plan import read_plan

    plan = read_plan(path.parents[2] / "recipes" / f"{path.name.split('.')[0]}.toml")
    write_page(plan, read_results(plan))


def use_weights(path: Path) -> None:
    from moppet.train.networks.registry import load_network

    load_network(path)


def use_generator(path: Path) -> None:
    from moppet.synthesis.trained_generators import load_generator

    load_generator(path).generate("neutral", 1)


def use_journal(path: Path) -> None:
    read_journal(path)
    read_state(path)


def use_rating_set(path: Path) -> None:
    from moppet.server.label_api import opened_raters
    from moppet.server.ratings import RatingSets

    opened_raters(RatingSets(path.parents[1]).of(path.parent.name))


def use_done(path: Path) -> None:
    from moppet.synthesis.synthetic_folder import _finished

    kept = path.read_bytes()
    for name, line in _finished(path.parent, "r").items():
        assert isinstance(name, str) and isinstance(line["kept"], bool)
    path.parent.mkdir(exist_ok=True)  # what is of another run is removed
    path.write_bytes(kept)


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
    "printed model card": Sample("model/card.toml", use_card),
    "network": Sample("model/model.onnx", lambda p: use_model(p.with_name("card.toml"))),
    "synthesis settings": Sample("synthesis.toml", read_settings),
    "training recipe": Sample("recipe.toml", use_recipe),
    "study recipe": Sample(f"recipes/{NETWORKS_STUDY}.toml", use_study),
    "study of classifiers": Sample(f"recipes/{CLASSIFIER_STUDY}.toml", use_study),
    "study results": Sample(f"docs/studies/{NETWORKS_STUDY}.json", use_results),
    "classifiers' results": Sample(f"docs/studies/{CLASSIFIER_STUDY}.json", use_results),
    "study ledger": Sample(f"docs/studies/{NETWORKS_STUDY}.cells.jsonl", use_results),
    "manifest": Sample("faces.parquet", use_manifest),
    "table of images": Sample("faces.csv", use_table),
    "images": Sample("faces.npz", use_images),
    "guard log": Sample("events.jsonl", read_log),
    "figures": Sample("model/figures.json", use_card),
    "evaluation": Sample("model/evaluation.json", use_card),
    "training log": Sample("model/training.csv", use_card),
    "weights": Sample("weights.safetensors", use_weights),
    "generator": Sample("generator.safetensors", use_generator),
    "journal": Sample("journal.arrows", use_journal),
    "rating set": Sample("labels/visit/set.json", use_rating_set),
    "opened raters": Sample("labels/visit/opened.json", use_rating_set),
    "generated faces": Sample("part/done.jsonl", use_done),
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
    with Journal(root / "journal.arrows", timeline.names, {"source": "x"}) as journal:
        journal.append([{"frame": 0, "time_s": 0.0, "status": "no_face"}], {"tracks": []})
    write_model(root / "model")
    write_results(root / "model")
    write_studies(root)
    write_images(root)
    write_networks(root)
    (root / "guard.toml").write_text(GUARD)
    (root / "synthesis.toml").write_text('method = "vae"\nseed = 3\n')
    (root / "recipe.toml").write_text('name = "n"\ndata = "faces"\nepochs = 3\n')
    return root


LINE = {"at": "2026-11-30", "event": "pause", "time_s": 1.5, "rule": "r", "face_id": 0}


STUDY = """
name = "child-happy-sad"
title = "A short study"
output = "../docs/studies"
work = "../runs"
[common]
data = "faces.npz"
classes = ["happiness", "sadness"]
network = "childcnn"
[regimes.scarce]
draws = 2
counts = { happiness = 5, sadness = 4 }
val = 0.3
[[tables.ablation.experiments]]
name = "plain"
[[tables.ablation.experiments]]
name = "with SE"
attention = "se"
"""


def write_studies(root: Path) -> None:
    """The recipes of both kinds of study, and a few rows of what they have written."""
    (root / "recipes").mkdir()
    (root / "docs" / "studies").mkdir(parents=True)
    for name in (NETWORKS_STUDY, CLASSIFIER_STUDY):
        results = Path(f"docs/studies/{name}.json")
        rows = json.loads((PROJECT / results).read_bytes())
        chosen = [row for row in rows if row.get("data", "infants") == "infants"][:40]
        (root / results).write_text(json.dumps(chosen, indent=1))
        recipe = root / "recipes" / f"{name}.toml"
        recipe.write_bytes((PROJECT / "recipes" / recipe.name).read_bytes())
    (root / "recipes" / f"{NETWORKS_STUDY}.toml").write_text(STUDY)
    from moppet.study.plan import read_plan

    plan = read_plan(root / "recipes" / f"{NETWORKS_STUDY}.toml")
    line = {"names": ["a", "b"], "probabilities": [[0.5, 0.5]], "network": "childcnn", "epochs": 3,
            "parameters": 9, "flops": 9.5, "seconds": 2.5, "made_seconds": 0.0,
            "rows": {"train": {"a": 3, "b": 2}}}  # fmt: skip
    lines = [json.dumps({"recipe": plan.hash_of(c), "draw": c.draw, **line}) for c in plan.cells()]
    (root / "docs" / "studies" / f"{NETWORKS_STUDY}.cells.jsonl").write_text("\n".join(lines))


def write_results(folder: Path) -> None:
    """The figures and the evaluation of the model in a folder."""
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    names = list(load_model(folder).names)
    part = {
        "n": 9, "accuracy": estimate, "recall": dict.fromkeys(names, estimate),
        "confusion": [[1] * len(names)] * len(names),
    }  # fmt: skip
    figures = {"names": names, "aligned": {"all": part, "child": part}, "raw": {"all": part}}
    (folder / "figures.json").write_text(json.dumps(figures))
    model = load_model(folder)
    about = {
        "model": {"name": model.name, "sha256": model.sha256},
        "data": {"name": "own", "sources": ["own"], "license": "own"},
    }
    level = {
        "names": names, "parts": {"all": part}, "by": {}, "gaps": [],
        "missed_wrong": estimate,
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps({"about": about, "classes": level}))
    header = "epoch,train_loss,train_accuracy,val_loss,val_accuracy,val_balanced"
    (folder / "training.csv").write_text(f"{header}\n1,1.0,0.5,1.1,0.4,0.4\n2,0.9,0.6,1,0.5,0.4\n")


def write_images(root: Path) -> None:
    """Images with their manifest, a table of them, and logs of what was done with them."""
    images = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(root / "faces.npz", images=images)
    columns = {
        "path": ["faces.npz"] * 4, "array_row": [0, 1, 2, 3], "age": [1.0, 2.0, 3.0, 4.0],
        "label": ["anger", "fear", "anger", "fear"], "split": ["train", "val", "test", "train"],
        "votes": np.eye(2)[[0, 1, 0, 1]],
    }  # fmt: skip
    build_manifest(columns, root=root, names=["anger", "fear"]).write(root / "faces.parquet")
    (root / "faces.csv").write_text(
        'path,label,age,weight\nt.json,happy,3,1\n"faces.npz",sad,40,0.5\nno.png,sad,,\n'
    )
    (root / "events.jsonl").write_text(f"{json.dumps(LINE)}\n{json.dumps(LINE | {'face_id': 1})}\n")
    rated = {"folder": str(root), "classes": ["a", "b"], "pictures": ["no.png"], "seed": 1}
    (root / "labels" / "visit").mkdir(parents=True)
    (root / "labels" / "visit" / "set.json").write_text(json.dumps(rated))
    (root / "labels" / "visit" / "opened.json").write_text('{"raters": ["ann", "bo"]}')
    (root / "part").mkdir()
    done = {"name": "fear/1.png", "kept": True, "sources": ["ab"], "age_band": None}
    lines = ({"run": "r"}, done, done | {"name": "fear/2.png", "kept": False})
    (root / "part" / "done.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))


def write_networks(root: Path) -> None:
    """A network's weights and a generator's."""
    from moppet.synthesis.networks import Generator
    from moppet.synthesis.settings import SynthesisSettings
    from moppet.synthesis.trained_generators import FaceGenerator
    from moppet.train.networks.registry import build_network
    from moppet.train.networks.weights import save_network

    save_network(build_network("childcnn", 2, input_size=32), root / "weights.safetensors")
    own = SynthesisSettings(method="vae", size=32, width=8, latent=8)
    network = Generator(own.size, own.channels, own.width, own.latent, 1)
    FaceGenerator(own, {"neutral": (network, 0)}).save(root / "generator.safetensors")


def replaced(document: Any, choose: Callable[[int], int], odd: Any) -> Any:
    """A copy of a JSON document in which one value is another, or missing."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return None if odd is MISSING else odd
    holder, key = places[choose(len(places))]
    if odd is MISSING:
        del holder[key]
    else:
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


def dumped(document: Any, ending: str) -> bytes:
    if ending == ".toml" and isinstance(document, dict):
        text = "\n".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in document.items())
    else:
        text = json.dumps(document, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value) if type(value) in (int, float) else json.dumps(value)


def use_with(sample: Sample, folder: Path, data: bytes) -> None:
    """Read the sample with this content."""
    place = folder / sample.file
    whole = place.read_bytes()
    try:
        place.write_bytes(data)
        sample.use(place)
    finally:
        place.write_bytes(whole)


def check(sample: Sample, folder: Path, data: bytes) -> None:
    """Read the sample with this content: a result, or one sentence."""
    try:
        use_with(sample, folder, data)
    except MoppetError as error:
        text = str(error)
        assert text.endswith((".", "?", "!")) and len(text) < 3000, text
        assert text.replace("\n  ", "").isprintable(), repr(text)


common = settings(
    max_examples=int(os.environ.get("MOPPET_FUZZ_EXAMPLES", "15")),
    derandomize="MOPPET_FUZZ_EXAMPLES" not in os.environ,  # make test is repeatable
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_a_message_cuts_words_that_nobody_can_read() -> None:
    assert str(MoppetError(f"there is no {'9' * 5000!r}. Known: a, b.")) == (
        f"there is no '{'9' * 299}… Known: a, b."
    )
    path = "/folder" * 100
    assert str(MoppetError(f"{path} is not there.")) == f"{path} is not there."


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


ENDINGS = (".json", ".boris", ".toml")
JSON = [name for name, sample in SAMPLES.items() if sample.file.endswith(ENDINGS[:2])]
TREES = [name for name, sample in SAMPLES.items() if sample.file.endswith(ENDINGS)]


@pytest.mark.parametrize("name", TREES)
def test_odd_values_are_read_or_refused_in_one_sentence(folder: Path, name: str) -> None:
    sample = sample_in(folder, name)
    text, ending = (folder / sample.file).read_text("utf-8"), Path(sample.file).suffix
    whole = tomllib.loads(text) if ending == ".toml" else json.loads(text)

    @common
    @given(st.data())
    def run(draw: st.DataObject) -> None:
        odd = draw.draw(st.sampled_from(ODD))
        document = replaced(whole, lambda n: draw.draw(st.integers(0, n - 1)), odd)
        check(sample, folder, dumped(document, ending))

    run()


OURS = [name for name in JSON if not name.startswith(("BORIS", "study", "classifiers"))]


@pytest.mark.parametrize("name", OURS)
def test_a_key_that_stands_twice_is_refused(folder: Path, name: str) -> None:
    sample = sample_in(folder, name)
    whole = (folder / sample.file).read_bytes()
    with pytest.raises(MoppetError, match="the key 'x' twice"):
        use_with(sample, folder, whole.replace(b"{", b'{"x": 1, "x": 2, ', 1))


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
