"""What a coder's file holds besides plain codes: it is read, or counted and told."""

from __future__ import annotations

import json
import random
import re
import zipfile

import pytest

from moppet.coders import Code, codings, read_coding
from moppet.coders.codings import Coding, Lane
from moppet.coders.programs import write_program
from moppet.values import TimelineError
from test_coders_command import write_clip
from test_coders_media import aggregated, eaf, saved, turns

TURNS = ("calm", "smile", "sad", "smile")


def of_title(path):
    return {lane.title: lane for lane in read_coding(path).lanes}


def opf(folder, db, name="c.opf"):
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("db", db)
        archive.writestr("project", "!project\n")
    return folder / name


def textgrid(*tiers):
    """A short TextGrid; tiers: (class, name, numbers and texts of all entries, length of one)."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "0", "120", "<exists>"]
    lines.append(str(len(tiers)))
    for kind, name, values, size in tiers:
        lines += [f'"{kind}"', f'"{name}"', "0", "120", str(len(values) // size)]
        lines += [value if i % size < size - 1 else f'"{value}"' for i, value in enumerate(values)]
    return "\n".join(lines) + "\n"


EMPTY = [(start_s, stop_s, "") for start_s, stop_s, _ in turns()]


# ------------------------------------------------------------------------ codes without a value


def presence_eaf(tiers):
    """One document of several tiers that have times only."""
    documents = [eaf([(*span, "") for span in spans], [], name) for name, spans in tiers.items()]
    slots, found = "", ""
    for number, document in enumerate(documents):
        own = document.replace('"t', f'"t{number}_').replace('_ID="a', f'_ID="a{number}_')
        slots += own.partition("<TIME_ORDER>")[2].partition("</TIME_ORDER>")[0]
        found += own.partition("</TIME_ORDER>")[2].partition("</ANNOTATION_DOCUMENT>")[0]
    return (
        f"<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER>{slots}</TIME_ORDER>{found}"
        "</ANNOTATION_DOCUMENT>"
    )


def test_tiers_with_times_only_are_codes_by_their_names(moppet, tmp_path):
    spans = {
        word: [(a, b) for a, b, label in turns() if label == word] for word in ("smile", "sad")
    }
    path = saved(tmp_path, presence_eaf(spans), "c.eaf")
    lanes = of_title(path)
    assert lanes["sad"].codes[0] == Code(6.0, 9.0, "sad") and lanes["sad"].is_presence
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0 and re.search(r"Cohen's kappa +1\.000", out)
    assert "'smile, sad' have times without values: their names are the codes" in out
    code, out, _ = moppet(
        *("compare", write_clip(tmp_path), path, "-o", tmp_path / "r", "--tier", "sad")
    )
    assert code == 0 and "'sad' has times without values, so its name is the code" in out
    assert "coder has only 'sadness' and machine has only 'sadness': kappa does not measure" in out


def test_values_that_are_missing_among_others_are_counted(moppet, tmp_path):
    codes = [(a, b, "" if label == "smile" else label) for a, b, label in turns()]
    path = saved(tmp_path, eaf(codes, []), "c.eaf")
    lane = of_title(path)["face"]
    assert len(lane.codes) == 20 and lane.left_out == {"without a value": 20}
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0
    assert "20 of the 40 codes in 'face' are left out: 20 without a value." in out


def test_datavyus_cells_without_a_value_are_codes_or_counted(tmp_path):
    cells = "00:00:02:000,00:00:04:400,()\n00:00:06:600,00:00:08:800,({})\n"
    db = "#4\nsmile (MATRIX,true,)-\n" + cells.format("")
    db += "cry (MATRIX,true,)-code01|NOMINAL\n" + cells.format("loud")
    db += "both (MATRIX,true,)-a|NOMINAL,b|NOMINAL\n00:00:01:000,00:00:02:000,(<a>,<b>)\n"
    lanes = of_title(opf(tmp_path, db))
    assert lanes["smile"].codes == (Code(2.0, 4.4, "smile"), Code(6.6, 8.8, "smile"))
    assert lanes["cry"].codes == (Code(6.6, 8.8, "loud"),)
    assert lanes["cry"].left_out == {"without a value": 1}
    assert lanes["both"].codes == (Code(1.0, 2.0, "both"),)


def test_praats_points_without_a_text_are_codes_or_counted(tmp_path):
    content = textgrid(
        ("TextTier", "blink", ["1", "", "2.5", ""], 2),
        ("TextTier", "marks", ["1", "", "2.5", "nod"], 2),
        ("IntervalTier", "face", ["0", "60", "", "60", "120", "calm"], 3),
    )
    lanes = of_title(saved(tmp_path, content, "c.TextGrid"))
    assert lanes["blink"].codes == (Code(1.0, 1.0, "blink"), Code(2.5, 2.5, "blink"))
    assert lanes["marks"].left_out == {"without a value": 1}
    assert lanes["face"].codes == (Code(60.0, 120.0, "calm"),) and not lanes["face"].left_out


def test_codes_without_a_time_or_reversed_are_counted(tmp_path):
    document = eaf([(1, 2, "a"), (5, 4, "b"), (6, 7, "c")], [])
    document = document.replace(
        "</TIER>",
        '</TIER><TIER TIER_ID="how"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r1" '
        'ANNOTATION_REF="gone"><ANNOTATION_VALUE>x</ANNOTATION_VALUE></REF_ANNOTATION>'
        "</ANNOTATION></TIER>",
    )
    lanes = of_title(saved(tmp_path, document, "c.eaf"))
    assert lanes["face"].codes == (Code(1, 2, "a"), Code(6, 7, "c"))
    assert lanes["face"].left_out == {"that end before they start": 1}
    assert lanes["how"].codes == () and lanes["how"].left_out == {"without a time": 1}
    table = aggregated([(1, 2, "a"), ("inf", "inf", "b")], files=("visit.mp4",), durations="120")
    (lane,) = read_coding(saved(tmp_path, table, "c.tsv")).lanes
    assert lane.codes == (Code(1, 2, "a"),) and lane.left_out == {"without a time": 1}


def test_rows_and_events_that_are_not_understood_are_counted(moppet, tmp_path):
    table = aggregated([*turns(), (1, 2, "")], files=("visit.mp4",), durations="120")
    path = saved(tmp_path, table, "c.tsv")
    assert read_coding(path).left_out == {"rows without a behavior": 1}
    out = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")[1]
    assert "left out: 1 rows without a behavior" in out
    project = {
        "behaviors_conf": {"0": {"code": "cry", "type": "State event"}},
        "observations": {
            "a": {"events": [[1, "", "cry", ""], [2, "", "cry", ""], [3, "", "nod", ""]]}
        },
    }
    coding = read_coding(saved(tmp_path, project))
    assert coding.left_out == {"events of behaviors that the ethogram lacks": 1}


@pytest.mark.parametrize("kinds", [("START", "START", "STOP"), ("START", "STOP", "STOP")])
def test_events_of_a_table_that_do_not_pair_spoil_their_own_observation_only(tmp_path, kinds):
    rows = "Observation id\tSubject\tBehavior\tBehavior type\tTime\n"
    rows += "a\tx\ts\tSTART\t1\na\tx\ts\tSTOP\t2\n"
    rows += "".join(f"b\tx\ts\t{kind}\t{number}\n" for number, kind in enumerate(kinds))
    coding = read_coding(saved(tmp_path, rows, "t.tsv"))
    assert [lane.observation for lane in coding.lanes] == ["a"]
    assert "'s' at " in coding.faults["b"] and "pair the events" in coding.faults["b"]


def test_tiers_and_codes_that_are_not_used_are_noted(moppet, tmp_path):
    content = textgrid(
        ("IntervalTier", "face", ["0", "60", "calm", "60", "120", "out of view"], 3),
        ("TextTier", "notes", ["1", "window open", "2", "door"], 2),
    )
    path = saved(tmp_path, content, "c.TextGrid")
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0
    assert "only 'face' is compared; not used: 'notes' (2 codes)." in out
    assert "1 of 2 codes means 'skip', so their time is left out: 'out of view' (1)." in out
    about = json.loads((tmp_path / "r" / "agreement.json").read_text("utf-8"))["about"]
    assert about["coders"][0]["tiers_not_used"] == {"notes": 2}


@pytest.mark.parametrize("second", ["2", "sad", "lab/SAD"])
def test_several_tiers_that_are_one_coding_are_compared_together(moppet, tmp_path, second):
    rows = [("Observation id", "Subject", "Behavior", "Behavioral category", "Behavior type",
             "Start (s)", "Stop (s)")]  # fmt: skip
    rows += [("v", "lab", x, x, "STATE", str(a), str(b)) for a, b, x in turns()]
    tiers = {x: [one for one in turns() if one[2] == x] for x in ("calm", "sad", "smile")}
    found = [(name, [str(x) for one in codes for x in one]) for name, codes in tiers.items()]
    grid = textgrid(*(("IntervalTier", name, marks, 3) for name, marks in found))
    table = saved(tmp_path, "\n".join("\t".join(row) for row in rows), "c.tsv")
    path = table if "/" in second else saved(tmp_path, grid, "c.TextGrid")
    chosen = ("--tier", "calm", "--tier", second, "--tier", "CALM")
    code, out, _ = moppet("compare", write_clip(tmp_path), path, *chosen, "-o", tmp_path / "r",
                          "--json")  # fmt: skip
    (about,) = json.loads(out)["about"]["coders"]
    assert code == 0 and about["codes"] == 20 and list(about["tiers_not_used"]) != []
    assert json.loads(out)["pairs"][0]["units"]["kappa"]["value"] == pytest.approx(1.0)
    assert json.loads(out)["pairs"][0]["compared_s"] == pytest.approx(60.0, abs=3.0)


def test_two_coders_may_have_several_tiers_each_in_one_file(moppet, tmp_path):
    spans = {word: [(a, b) for a, b, x in turns() if x == word] for word in ("smile", "sad")}
    path, clip = saved(tmp_path, presence_eaf(spans), "c.eaf"), write_clip(tmp_path)
    both = ("--tier", "smile", "--tier", "sad", "-o", tmp_path / "r", "--json")
    code, out, _ = moppet("compare", clip, path, path, *both, "--tier2", "smile")
    titles = [one["tier"] for one in json.loads(out)["about"]["coders"]]
    assert code == 0 and titles == ["smile, sad", "smile"]
    code, _, err = moppet("compare", clip, path, path, *both, "--tier2", "smile", "--tier2", "sad")
    assert code == 2 and "Both coders are in one file" in err


# --------------------------------------------------------------------------- tiers of one name


def test_tiers_of_one_name_are_chosen_by_number(moppet, tmp_path):
    first, second = ("0", "120", "sad"), tuple(str(x) for one in turns() for x in one)
    content = textgrid(("IntervalTier", "face", first, 3), ("IntervalTier", "face", second, 3))
    path, clip = saved(tmp_path, content, "c.TextGrid"), write_clip(tmp_path)
    code, _, err = moppet("compare", clip, path, "-o", tmp_path / "r")
    assert code == 2 and "#1 'face', #2 'face'" in err and "--tier" in err
    for tier, kappa in (("2", 1.0), ("#2", 1.0), ("1", 0.0)):
        options = ("--tier", tier, "-o", tmp_path / "r", "--json")
        code, out, _ = moppet("compare", clip, path, *options)
        assert code == 0
        assert json.loads(out)["pairs"][0]["units"]["kappa"]["value"] == pytest.approx(kappa)


def test_tiers_of_one_name_are_chosen_by_their_parent(moppet, tmp_path):
    document = presence_eaf({"child": [(0, 120)], "parent": [(0, 120)]})
    for number, label in enumerate(("smile", "sad")):
        document = document.replace(
            "</ANNOTATION_DOCUMENT>",
            f'<TIER TIER_ID="mood" PARENT_REF="{("child", "parent")[number]}"><ANNOTATION>'
            f'<REF_ANNOTATION ANNOTATION_ID="m{number}" ANNOTATION_REF="a{number}_0">'
            f"<ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>"
            "</ANNOTATION_DOCUMENT>",
        )
    path, clip = saved(tmp_path, document, "c.eaf"), write_clip(tmp_path)
    err = moppet("compare", clip, path, "--tier", "mood", "-o", tmp_path / "r")[2]
    assert "#3 'child/mood', #4 'parent/mood'" in err
    options = ("--tier", "parent/mood", "-o", tmp_path / "r", "--json")
    code, out, _ = moppet("compare", clip, path, *options)
    assert code == 0 and json.loads(out)["about"]["code_map"] == {"sad": "sadness"}


# -------------------------------------------------------------------------- the order of time


def words_eaf(rng):
    """Sentences whose words have no times, with TIME_ORDER and all annotations in any order."""
    slots, sentences, words = [], [], []
    for number in range(6):
        slots += [(f"s{number}a", number * 10_000), (f"s{number}b", number * 10_000 + 6000)]
        sentences.append(
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="p{number}" TIME_SLOT_REF1='
            f'"s{number}a" TIME_SLOT_REF2="s{number}b"><ANNOTATION_VALUE>sentence {number}'
            "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        )
        for word in range(6):
            before = f'PREVIOUS_ANNOTATION="w{number}_{word - 1}"' if word else ""
            words.append(
                f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="w{number}_{word}" ANNOTATION_REF='
                f'"p{number}" {before}><ANNOTATION_VALUE>{number}.{word}</ANNOTATION_VALUE>'
                "</REF_ANNOTATION></ANNOTATION>"
            )
    for part in (slots, sentences, words):
        rng.shuffle(part)
    order = "".join(f'<TIME_SLOT TIME_SLOT_ID="{x}" TIME_VALUE="{ms}"/>' for x, ms in slots)
    tiers = [
        f'<TIER TIER_ID="words" PARENT_REF="sentences">{"".join(words)}</TIER>',
        f'<TIER TIER_ID="sentences">{"".join(sentences)}</TIER>',
    ]
    rng.shuffle(tiers)
    return (
        f"<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER>{order}</TIME_ORDER>{''.join(tiers)}"
        "</ANNOTATION_DOCUMENT>"
    )


@pytest.mark.parametrize("seed", range(5))
def test_words_come_after_their_previous_annotation_in_any_document_order(tmp_path, seed):
    document = words_eaf(random.Random(seed))
    lane = of_title(saved(tmp_path, document, "c.eaf"))["words"]
    expected = tuple(
        Code(float(n * 10 + w), float(n * 10 + w + 1), f"{n}.{w}")
        for n in range(6)
        for w in range(6)
    )
    assert lane.codes == expected and lane.path == "sentences/words"


def test_previous_annotations_in_a_circle_lose_no_word(tmp_path):
    document = words_eaf(random.Random(0))
    document = document.replace('"w0_0" ANNOTATION_REF="p0" ', '"w0_0" ANNOTATION_REF="p0" '
                                'PREVIOUS_ANNOTATION="w0_5"')  # fmt: skip
    lane = of_title(saved(tmp_path, document, "c.eaf"))["words"]
    assert len(lane.codes) == 36 and not lane.left_out


def test_annotations_that_share_slots_without_times_follow_each_other(tmp_path):
    chain = [("b", "s1", "s2"), ("c", "s2", "s3"), ("a", "s0", "s1")]
    annotations = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{x}" TIME_SLOT_REF1="{a}" '
        f'TIME_SLOT_REF2="{b}"><ANNOTATION_VALUE>{x}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
        "</ANNOTATION>"
        for x, a, b in chain
    )
    document = (
        '<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="s0" TIME_VALUE="0"/>'
        '<TIME_SLOT TIME_SLOT_ID="s2"/><TIME_SLOT TIME_SLOT_ID="s1"/>'
        '<TIME_SLOT TIME_SLOT_ID="s3" TIME_VALUE="9000"/></TIME_ORDER>'
        f'<TIER TIER_ID="t">{annotations}</TIER></ANNOTATION_DOCUMENT>'
    )
    lane = of_title(saved(tmp_path, document, "c.eaf"))["t"]
    assert lane.codes == (Code(0, 3, "a"), Code(3, 6, "b"), Code(6, 9, "c"))


def test_a_chronological_textgrid_is_read(tmp_path):
    content = (
        '"Praat chronological TextGrid text file"\n0 4.5   ! Time domain.\n2   ! Number of tiers.\n'
        '"IntervalTier" "face" 0 4.5\n"TextTier" "bell" 0 4.5\n\n'
        '1 0 2.25\n"calm"\n\n2 1.\n"ding ""x"""\n\n! face:\n1 2.25 4.5\n"smile"\n'
    )
    lanes = of_title(saved(tmp_path, content, "c.TextGrid"))
    assert lanes["face"].codes == (Code(0, 2.25, "calm"), Code(2.25, 4.5, "smile"))
    assert lanes["bell"].codes == (Code(1, 1, 'ding "x"'),)
    for odd in ("3 0 1\n", "1.5 0 1\n", '"face" 0 1\n', "1 0\n"):
        with pytest.raises(TimelineError, match=r"c\.TextGrid"):
            of_title(saved(tmp_path, content + odd, "c.TextGrid"))


# ----------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.", 2.0), ("+2", 2.0), ("50%", 0.5), ("25.e-1", 2.5), ("2E0", 2.0), ("0.20e+1", 2.0)],
)
def test_numbers_are_read_as_praat_does(tmp_path, text, value):
    content = textgrid(("TextTier", "t", [text, "nod"], 2))
    (lane,) = read_coding(saved(tmp_path, content, "c.TextGrid")).lanes
    assert lane.codes == (Code(value, value, "nod"),)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read_and_noted(moppet, tmp_path, delimiter):
    rows = [("Observation id", "Behavior", "Behavior type", "Start (s)", "Stop (s)")]
    rows += [("v", x, "STATE", f"{a:.3f}", f"{b:.3f}") for a, b, x in turns()]
    rows += [("v", "calm", "STATE", "1.234.000", "1.234.500")]
    text = "\n".join(delimiter.join(x.replace(".", ",") for x in row) for row in rows)
    text = text.replace("1,234,", "1.234,")
    path = saved(tmp_path, text, "c.csv")
    (lane,) = read_coding(path).lanes
    assert lane.codes[1] == Code(3.0, 6.0, "smile")
    assert lane.codes[-1] == Code(1234.0, 1234.5, "calm")
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0 and "decimal comma" in out and re.search(r"Cohen's kappa +1\.000", out)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (("0,500", "1.500"), "decimal points and decimal commas"),
        (("00:00:01.500", "00:00:02.500"), "export times in seconds"),
        (("1.2.3", "2.2.3"), "export times in seconds"),
    ],
)
def test_times_that_could_mean_two_things_are_refused(tmp_path, times, says):
    text = "Behavior\tBehavior type\tStart (s)\tStop (s)\n"
    text += "".join(f"calm\tSTATE\t{time}\t{time}\n" for time in times)
    with pytest.raises(TimelineError, match=says):
        read_coding(saved(tmp_path, text, "c.tsv"))


# ------------------------------------------------------------------- OpenSHAPA and bounded sizes


def test_a_sheet_of_openshapa_without_a_version_has_no_escapes(tmp_path):
    db = "face (NOMINAL)\n00:00:01:000,00:00:02:500,C:\\smile\n"
    assert of_title(opf(tmp_path, db))["face"].codes == (Code(1.0, 2.5, "C:\\smile"),)


def test_a_project_of_openshapa_that_points_to_its_sheet_is_refused_by_name(tmp_path):
    path = saved(tmp_path, "!project\ndbFile: visit.csv\nname: x\n", "c.opf")
    with pytest.raises(TimelineError, match=r"OpenSHAPA project whose codes lie in 'visit\.csv'"):
        read_coding(path)


QUADRATIC = (
    b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 50_000 + b'">]><ANNOTATION_DOCUMENT>'
    + b"&b;" * 500 + b"</ANNOTATION_DOCUMENT>"
)  # fmt: skip
LARGE = {
    "entities.eaf": (QUADRATIC, "DOCTYPE"),
    "external.eaf": (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "DOCTYPE"),
    "deep.eaf": (b"<ANNOTATION_DOCUMENT>" + b"<a>" * 100_000, "more than 50 deep"),
    "large.eaf": (b" " * 64_000_001, "larger than 64 MB"),
    "large.tsv": (b" " * 64_000_001, "larger than 64 MB"),
    "large.boris": (b" " * 64_000_001, "larger than 64 MB"),
    "large.TextGrid": (b" " * 64_000_001, "larger than 64 MB"),
    "large.opf": (b" " * 32_000_001, "larger than 32 MB"),
    "deep.boris": (b"[" * 200_000, "too deep"),
    "count.TextGrid": (textgrid(("TextTier", "t", [], 2)).replace("\n0\n", "\n1e18\n").encode(),
                       "too early"),
    "column.opf.db": (b" " * 3_000_000 + b"x", "expected a column"),
    "lines.opf.db": (b"#4\n" + b"a\\\n" * 500_000, "expected a column"),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_large_deep_and_expanding_files_are_refused_in_one_sentence(tmp_path, name):
    content, says = LARGE[name]
    path = tmp_path / name
    if name.endswith(".db"):
        path = opf(tmp_path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(TimelineError, match=says) as caught:
        read_coding(path)
    assert "\n" not in str(caught.value)


def test_the_directory_of_a_zip_is_checked_before_its_member_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.opf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db", b"0" * 65_000_000)

    def never(*_, **__):
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "open", never)
    with pytest.raises(TimelineError, match="its spreadsheet is larger than 64 MB"):
        read_coding(tmp_path / "bomb.opf")


@pytest.mark.parametrize("program", ["elan", "boris", "datavyu", "textgrid"])
def test_files_of_too_many_codes_or_values_are_refused(tmp_path, monkeypatch, program):
    """The limits bound the memory; so do bytes."""
    lanes = [Lane("face", tuple(Code(i, i + 1, "calm") for i in range(30)))]
    paths = write_program(Coding(tuple(lanes), "visit.mp4"), tmp_path, "c", program)
    for path in paths:
        assert len(read_coding(path).lanes[0].codes) == 30
    monkeypatch.setattr(codings, "MOST_CODES", 20)
    monkeypatch.setattr(codings, "_MOST_MARKS", 80)
    for path in paths:
        with pytest.raises(TimelineError, match=r"more than (20 codes|80 values): export a part"):
            read_coding(path)
