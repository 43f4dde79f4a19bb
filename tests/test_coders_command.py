"""`moppet compare` and `moppet export` as people meet them."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from moppet.coders import Code, Coding, Lane, write_program
from moppet.timeline import TimelineSettings
from moppet.values import EXPRESSIONS
from report_samples import make_row, make_timeline, two_people

SVG = "{http://www.w3.org/2000/svg}"
TURNS = ("neutral", "happiness", "sadness", "happiness")


def write_clip(folder):
    """120 s of one face that turns every 3 s, at 10 frames/s; from 60 to 66 s nobody."""
    rows = []
    for i in range(1200):
        name = TURNS[int(i / 30) % 4]
        p = [0.94 if other == name else 0.01 for other in EXPRESSIONS]
        rows.append(make_row(i, i / 10, None if 600 <= i < 660 else p))
    metadata = {"source_name": "visit.mp4", "duration_s": 120.0, "frame_count": 1200}
    timeline = make_timeline(rows, settings=TimelineSettings(smooth_s=0), metadata=metadata)
    return timeline.write(folder / "timeline.parquet")


def write_codes(folder, program, *, shift=0.2, words=("calm", "smile", "sad", "smile"), name="c"):
    """The same turns as a person coded them, a little late, in words of their own."""
    codes = [Code(i * 3 + (shift if i else 0), i * 3 + 3 + shift, words[i % 4]) for i in range(40)]
    coding = Coding((Lane("expression", tuple(codes), "child"),), "visit.mp4", 121.0, 10.0)
    return write_program(coding, folder, name, program)[0]


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path)


@pytest.mark.parametrize("program", ["elan", "boris", "datavyu", "textgrid"])
def test_codes_of_every_program_give_the_same_figures(moppet, tmp_path, clip, program):
    codes = write_codes(tmp_path, program)
    code, out, _ = moppet("compare", clip, codes, "-o", tmp_path / "r", "--json")
    assert code == 0
    printed = json.loads(out)
    assert printed == json.loads((tmp_path / "r" / "agreement.json").read_text("utf-8"))
    (pair,) = printed["pairs"]
    assert pair["compared_s"] == pytest.approx(114.0, abs=0.11)
    # Each of the 39 turns is late by 0.2 s, two units of 0.1 s.
    assert pair["units"]["agreement"]["value"] == pytest.approx(1 - 38 * 2 / 1140, abs=0.002)
    assert pair["events"]["onset_error_median_s"]["value"] == pytest.approx(-0.2)
    assert pair["events"]["found"]["value"] == 1.0
    assert printed["left_out_s"]["machine"] == {"no face": 6.0}
    assert printed["about"]["code_map"] == {
        "calm": "neutral",
        "smile": "happiness",
        "sad": "sadness",
    }
    assert pair["units"]["kappa"]["low"] < pair["units"]["kappa"]["value"]


def test_the_list_of_disagreements_and_the_image_show_the_same_time(moppet, tmp_path, clip):
    code, out, _ = moppet("compare", clip, write_codes(tmp_path, "elan"), "-o", tmp_path / "r")
    assert code == 0 and "Cohen's kappa" in out and "disagreements.csv" in out
    with (tmp_path / "r" / "disagreements.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "start_s": "3.000",
        "end_s": "3.200",
        "duration_s": "0.200",
        "coder": "neutral",
        "machine": "happiness",
    }
    svg = ET.parse(tmp_path / "r" / "lanes.svg").getroot()
    marks = [r for r in svg.iter(f"{SVG}rect") if r.get("fill") == "#b3261e"]
    assert len(marks) == len(rows)
    words = [t.text for t in svg.iter(f"{SVG}text")]
    assert {"coder", "machine", "happiness", "sadness", "white: no code"} <= set(words)
    right = max(
        float(r.get("x")) + float(r.get("width")) for r in svg.iter(f"{SVG}rect") if r.get("x")
    )
    assert right <= float(svg.get("width"))


def test_a_second_coder_is_compared_with_the_first(moppet, tmp_path, clip):
    first = write_codes(tmp_path, "elan", shift=0.2)
    second = write_codes(tmp_path, "datavyu", shift=0.0, name="d")
    code, out, _ = moppet("compare", clip, first, second, "-o", tmp_path / "r", "--json")
    assert code == 0
    pairs = {(p["first"], p["second"], p["where"]): p for p in json.loads(out)["pairs"]}
    assert len(pairs) == 4
    assert pairs["coder 2", "machine", "all judged"]["units"]["kappa"]["value"] == 1.0
    both = pairs["coder 1", "coder 2", "both coded"]
    assert both["compared_s"] == pytest.approx(120.0)
    assert both["events"]["onset_error_median_s"]["value"] == pytest.approx(-0.2)


def test_an_offset_moves_the_codes_onto_the_recording(moppet, tmp_path, clip):
    late = write_codes(tmp_path, "elan", shift=30.0)
    plain = moppet("compare", clip, late, "-o", tmp_path / "r", "--json")[1]
    moved = moppet("compare", clip, late, "-o", tmp_path / "r", "--json", "--offset", -30)[1]
    kappas = [json.loads(out)["pairs"][0]["units"]["kappa"]["value"] for out in (plain, moved)]
    assert kappas[1] > 0.97 > 0.5 > kappas[0]


def test_coarse_words_compare_groups_and_uncoded_time_can_be_rest(moppet, tmp_path, clip):
    codes = [Code(i * 12 + 6, i * 12 + 9, "cry") for i in range(10)]
    coding = Coding((Lane("cries", tuple(codes)),), "visit.mp4")
    (path,) = write_program(coding, tmp_path, "cries", "elan")
    code, out, _ = moppet("compare", clip, path, "-o", tmp_path / "r", "--json")
    (pair,) = json.loads(out)["pairs"]
    assert code == 0 and pair["units"]["kappa"]["value"] is None  # both say one thing only
    out = moppet("compare", clip, path, "-o", tmp_path / "r", "--json", "--uncoded", "rest")[1]
    (pair,) = json.loads(out)["pairs"]
    assert pair["units"]["labels"] == ["negative", "rest"]
    assert pair["units"]["kappa"]["value"] == pytest.approx(1.0)
    assert pair["events"]["by_label"] == {"negative": {"first": 10, "second": 10, "pairs": 10}}


def test_what_is_left_out_can_be_counted(moppet, tmp_path, clip):
    codes = write_codes(tmp_path, "elan")
    options = ("-o", tmp_path / "r", "--json", "--count", "unsure,no face")
    out = json.loads(moppet("compare", clip, codes, *options)[1])
    assert out["left_out_s"]["machine"] == {}
    assert out["pairs"][0]["units"]["labels"][-1] == "no face"
    assert out["pairs"][0]["compared_s"] == pytest.approx(120.0)


def test_one_seed_gives_one_interval(moppet, tmp_path, clip):
    codes = write_codes(tmp_path, "elan")
    runs = [moppet("compare", clip, codes, "-o", tmp_path / "r", "--json")[1] for _ in range(2)]
    assert runs[0] == runs[1]


def two_tiers(folder):
    lanes = (
        Lane("anna", (Code(0, 3, "calm"), Code(3, 6, "smile"))),
        Lane("ben", (Code(0, 2, "calm"), Code(2, 6, "smile"))),
        Lane("notes", (Code(0, 6, "window open"),)),
    )
    return write_program(Coding(lanes, "visit.mp4"), folder, "two", "elan")[0]


def test_two_coders_may_share_a_file_by_their_tiers(moppet, tmp_path, clip):
    path = two_tiers(tmp_path)
    options = ("--tier", "anna", "--tier2", "BEN", "-o", tmp_path / "r", "--json")
    code, out, _ = moppet("compare", clip, path, path, *options)
    assert code == 0
    assert [c["tier"] for c in json.loads(out)["about"]["coders"]] == ["anna", "ben"]


MISTAKES = {
    "several tiers": (["{two}"], "'anna', 'ben'", 2),
    "no such tier": (["{two}", "--tier", "carl"], "'notes'", 2),
    "one file twice": (["{two}", "{two}", "--tier", "anna"], "--tier2", 2),
    "unknown words": (["{two}", "--tier", "notes"], "window open=NAME", 2),
    "no such face": (["{elan}", "--face", "7"], "no face 7", 2),
    "face of letters": (["{elan}", "--face", "child"], "no face child", 2),
    "no such file": (["nowhere.eaf"], "does not exist", 1),
    "a wrong level": (["{elan}", "--level", "mood"], "expression or group", 2),
    "a wrong unit": (["{elan}", "--unit", "0"], "--unit", 2),
    "a wrong tolerance": (["{elan}", "--tolerance", "-1"], "--tolerance", 2),
    "a wrong map": (["{elan}", "--map", "sad=gloom"], "gloom", 2),
    "a wrong count": (["{elan}", "--count", "all"], "unsure, no face", 2),
    "a wrong uncoded": (["{elan}", "--uncoded", "bored"], "rest", 2),
    "a wrong offset": (["{elan}", "--offset", "nan"], "--offset", 2),
    "no time": (["{elan}", "--start", "500"], "no whole unit", 2),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_nothing(moppet, tmp_path, clip, name):
    arguments, says, expected = MISTAKES[name]
    files = {"two": two_tiers(tmp_path), "elan": write_codes(tmp_path, "elan")}
    filled = [argument.format(**files) for argument in arguments]
    code, out, err = moppet("compare", clip, *filled, "-o", tmp_path / "r")
    assert (code, out) == (expected, "")
    assert says in err and err.startswith("moppet: ") and err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_several_faces_must_be_named_and_one_person_may_be_two(moppet, tmp_path):
    timeline = two_people().write(tmp_path / "t.parquet")
    codes = Coding((Lane("x", (Code(0, 19, "calm"),)),), "child.mp4")
    (path,) = write_program(codes, tmp_path, "c", "elan")
    code, _, err = moppet("compare", timeline, path, "-o", tmp_path / "r")
    assert code == 2 and "0 (" in err and "1 (" in err and "--face" in err
    code, out, _ = moppet(
        *("compare", timeline, path, "-o", tmp_path / "r", "--face", "0,1", "--json")
    )
    assert code == 0 and json.loads(out)["about"]["faces"] == [0, 1]


def test_a_code_of_another_recording_is_noted(moppet, tmp_path, clip):
    codes = Coding((Lane("x", (Code(0, 6, "calm"),)),), "other.mp4")
    (path,) = write_program(codes, tmp_path, "c", "elan")
    out = moppet("compare", clip, path, "-o", tmp_path / "r")[1]
    assert "Note: c.eaf codes other.mp4, but the timeline is of visit.mp4." in out
    assert "too few for good intervals" in out


def test_export_writes_every_programs_files_named_like_the_recording(moppet, tmp_path, clip):
    code, out, _ = moppet(
        "export", clip, "-o", tmp_path / "x", "--format", "elan,boris,datavyu,textgrid"
    )
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert code == 0 and sorted(line.rpartition("/")[2] for line in out.split()) == names
    assert names == [
        "visit.TextGrid",
        "visit.boris",
        "visit.eaf",
        "visit.opf",
        "visit_aggregated.tsv",
        "visit_tabular.tsv",
    ]


def test_an_exported_file_agrees_wholly_with_its_timeline(moppet, tmp_path, clip):
    moppet("export", clip, "-o", tmp_path / "x", "--format", "elan")
    options = ("--tier", "face 0 expression", "-o", tmp_path / "r", "--json")
    out = moppet("compare", clip, tmp_path / "x" / "visit.eaf", *options)[1]
    (pair,) = json.loads(out)["pairs"]
    assert pair["units"]["kappa"]["value"] == 1.0
    assert np.array(pair["units"]["confusion"]).sum() == 1140


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--format", "anvil"], "elan, boris"), (["--probabilities", "0.001"], "--probabilities")],
)
def test_a_wrong_export_is_refused(moppet, tmp_path, clip, arguments, says):
    code, _, err = moppet("export", clip, "-o", tmp_path / "x", *arguments)
    assert code == 2 and says in err and not (tmp_path / "x").exists()


def test_a_tier_that_only_leaves_time_out_is_not_the_one(moppet, tmp_path, clip):
    lanes = (
        Lane("face", (Code(0, 3, "calm"), Code(3, 6, "smile"))),
        Lane("camera", (Code(6, 9, "out of view"),)),
    )
    (path,) = write_program(Coding(lanes, "visit.mp4"), tmp_path, "c", "elan")
    code, out, _ = moppet("compare", clip, path, "-o", tmp_path / "r", "--json")
    assert code == 0 and json.loads(out)["about"]["coders"][0]["tier"] == "face"


def test_a_boris_file_of_several_observations_needs_one_named_like_the_recording(
    moppet, tmp_path, clip
):
    path = write_codes(tmp_path, "boris")
    project = json.loads(path.read_text("ascii"))
    (visit,) = project["observations"].values()
    project["observations"] = {"visit": visit, "visit 2": visit}
    path.write_text(json.dumps(project), "ascii")
    code, out, _ = moppet("compare", clip, path, "-o", tmp_path / "r", "--json")
    assert code == 0 and json.loads(out)["pairs"][0]["units"]["kappa"]["value"] > 0.8
    code, _, err = moppet("compare", clip, path, "-o", tmp_path / "r", "--observation", "x")
    assert code == 2 and "'visit 2'" in err and "not 'x'" in err
