"""A coding of several media: the codes of the recording's own are compared, on its own clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moppet.coders import Code, read_coding
from moppet.coders.media import Recording, place
from moppet.values import TimelineError, UsageError
from test_coders_command import write_clip

TURNS = ("calm", "smile", "sad", "smile")
LENGTHS = {"part1.mp4": 130.0, "visit.mp4": 120.0}
FOLDER = "C:/lab/"


def turns(start_s=0.0, words=TURNS):
    """The turns of the clip as 40 codes, from start_s on."""
    return [(start_s + i * 3, start_s + i * 3 + 3, words[i % len(words)]) for i in range(40)]


def project(codes, files, *, lengths=LENGTHS, offsets=None, created=None, name="session"):
    """A BORIS project with one observation; files: of each player."""
    paths = {str(player): [FOLDER + one for one in found] for player, found in files.items()}
    info = {
        "length": {FOLDER + one: length for one, length in lengths.items()},
        "offset": {"1": 0.0} | (offsets or {}),
        "hasVideo": {FOLDER + one: not one.endswith(".wav") for one in lengths},
    }
    observation = {"type": "MEDIA", "time offset": 0.0, "file": paths, "media_info": info}
    if created:
        observation["media_creation_date_as_offset"] = True
        info["media_creation_time"] = {FOLDER + one: time for one, time in created.items()}
    observation["events"] = sorted(
        [time, "child", label, "", ""] for *span, label in codes for time in span
    )
    labels = {label for *_, label in codes}
    conf = {str(i): {"code": x, "type": "State event"} for i, x in enumerate(sorted(labels))}
    return {"behaviors_conf": conf, "observations": {name: observation}}


def saved(folder, content, name="c.boris"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def aggregated(codes, *, files=("part1.mp4", "visit.mp4"), durations="130.000;120.000", media=None):
    """A BORIS table; media: (start_s, name) of the file in each row."""
    source = f"player #1:{';'.join(files)}"
    rows = ["Observation id\tSource\tMedia duration (s)\tSubject\tBehavior\tBehavior type\t"
            "Start (s)\tStop (s)\tMedia file name"]  # fmt: skip
    for start_s, stop_s, label in codes:
        shown = [
            name for at, name in media or [(0, files[0]), (130, files[-1])] if at <= float(start_s)
        ]
        rows.append(
            f"session\t{source}\t{durations}\tchild\t{label}\tSTATE\t{start_s}\t{stop_s}\t"
            f"{FOLDER}{shown[-1]}"
        )
    return "\n".join(rows) + "\n"


def eaf(codes, media, tier="face"):
    """An ELAN document; media: (file name, TIME_ORIGIN in ms, MIME type)."""
    heads = "".join(
        f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/{name}" MIME_TYPE="{kind}" '
        f'RELATIVE_MEDIA_URL="./{name}" TIME_ORIGIN="{origin}"/>'
        for name, origin, kind in media
    )
    slots, annotations = "", ""
    for i, (start_s, stop_s, label) in enumerate(codes):
        for end, time_s in (("a", start_s), ("b", stop_s)):
            slots += f'<TIME_SLOT TIME_SLOT_ID="t{i}{end}" TIME_VALUE="{round(time_s * 1000)}"/>'
        annotations += (
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{i}" TIME_SLOT_REF1="t{i}a" '
            f'TIME_SLOT_REF2="t{i}b"><ANNOTATION_VALUE>{label}</ANNOTATION_VALUE>'
            "</ALIGNABLE_ANNOTATION></ANNOTATION>"
        )
    return (
        f'<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">{heads}</HEADER><TIME_ORDER>'
        f'{slots}</TIME_ORDER><TIER TIER_ID="{tier}">{annotations}</TIER></ANNOTATION_DOCUMENT>'
    )


OTHER = turns(0.0, ("sad", "calm", "smile", "calm"))
BOTH = [*OTHER, *turns(130.0)]
DATED = {"visit.mp4": 1714557600}
VIDEO = "video/mp4"
CODINGS = {
    "a file after another": ("c.boris", project(BOTH, {1: ["part1.mp4", "visit.mp4"]})),
    "a file before another": (
        "c.boris",
        project([*turns(), *turns(120.0, ("sad",))], {1: ["visit.mp4", "part1.mp4"]}),
    ),
    "a table of two files": ("c.tsv", aggregated(BOTH)),
    "the second player": (
        "c.boris",
        project(turns(7.5), {1: ["room.mp4"], 2: ["visit.mp4"]}, offsets={"2": 7.5}),
    ),
    "a creation date": (
        "c.boris",
        project(turns(1714557600.0), {1: ["visit.mp4"]}, created=DATED),
    ),
    "two creation dates": (
        "c.boris",
        project(
            [*turns(100.0, ("sad",)), *turns(5130.0)],
            {1: ["part1.mp4", "visit.mp4"]},
            created={"part1.mp4": 100, "visit.mp4": 5000},
        ),
    ),
    "the second of ELAN's media": (
        "c.eaf",
        eaf(turns(-4.0)[2:], [("room.mp4", 0, VIDEO), ("visit.mp4", 4000, VIDEO)]),
    ),
    "the first of ELAN's media": (
        "c.eaf",
        eaf(turns(-4.0)[2:], [("visit.mp4", 4000, VIDEO), ("room.mp4", 0, VIDEO)]),
    ),
    "sound beside the video": (
        "c.eaf",
        eaf(turns(-4.0)[2:], [("visit.wav", 0, "audio/x-wav"), ("visit.mp4", 4000, VIDEO)]),
    ),
    "a name in a URL": (
        "c.eaf",
        eaf(turns(-4.0)[2:], [("room.mp4", 0, VIDEO), ("visit.mp4", 4000, VIDEO)]).replace(
            "./visit.mp4", "file:./vis%69t.mp4"
        ),
    ),
    "another container": (
        "c.boris",
        project(BOTH, {1: ["part1.avi", "VISIT.avi"]}, lengths={"part1.avi": 130.0}),
    ),
    "a renamed file": (
        "c.boris",
        project(BOTH, {1: ["part1.mp4", "x.mp4"]}, lengths={"part1.mp4": 130.0, "x.mp4": 120.04}),
    ),
}


@pytest.mark.parametrize("name", CODINGS)
def test_the_codes_of_the_recordings_own_medium_are_compared(moppet, tmp_path, name):
    clip = write_clip(tmp_path)
    file, content = CODINGS[name]
    code, out, err = moppet("compare", clip, saved(tmp_path, content, file), "-o", tmp_path / "r",
                            "--json")  # fmt: skip
    assert code == 0, err
    printed = json.loads(out)
    (pair,) = printed["pairs"]
    assert pair["units"]["kappa"]["value"] == 1.0
    assert pair["compared_s"] == pytest.approx(114.0, abs=6.0)
    (coder,) = printed["about"]["coders"]
    assert coder["medium"]["name"].lower().startswith(("visit", "x."))
    assert coder["codes"] in (38, 40)


def test_an_old_project_has_one_offset_for_the_second_player(tmp_path):
    old = project(turns(7.5), {1: ["room.mp4"], 2: ["visit.mp4"]})
    observation = old["observations"]["session"]
    observation["time offset second player"] = 7.5
    del observation["media_info"]
    path = saved(tmp_path, old)
    placed = place(read_coding(path), path, Recording("visit.mp4", 120.0))
    assert placed.coding.lanes[0].codes[0] == Code(0.0, 3.0, "calm")


@pytest.mark.parametrize(("medium", "first_s"), [("room.mp4", 7.5), ("visit.mp4", 2.5)])
def test_the_offset_of_player_1_does_not_move_codes_as_in_boris_and_is_noted(
    moppet, tmp_path, medium, first_s
):
    """BORIS stores the position in player 1's files, and seeks player 2 to it less its offset."""
    lengths = {"room.mp4": 140.0, "visit.mp4": 120.0}
    content = project(turns(7.5), {1: ["room.mp4"], 2: ["visit.mp4"]}, lengths=lengths,
                      offsets={"1": 4.0, "2": 5.0})  # fmt: skip
    path = saved(tmp_path, content)
    placed = place(read_coding(path), path, Recording(medium, lengths[medium]))
    assert placed.coding.lanes[0].codes[0] == Code(first_s, first_s + 3, "calm")
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0 and "'session' has an offset of 4 s for player 1, which BORIS does not" in out


def test_the_choice_is_printed_and_the_codes_of_other_media_are_counted(moppet, tmp_path):
    path = saved(tmp_path, CODINGS["a file after another"][1])
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0
    assert "codes 'part1.mp4' (130.0 s), 'visit.mp4' (120.0 s)" in out
    assert "'visit.mp4' are compared, which starts at 130.000 s" in out and "by its name" in out
    assert "40 of the 80 codes in 'child behavior' are left out: 40 of other media." in out
    about = json.loads((tmp_path / "r" / "agreement.json").read_text("utf-8"))["about"]
    assert about["coders"][0]["medium"] == {
        "name": "visit.mp4", "player": 1, "length_s": 120.0, "start_s": 130.0, "chosen_by": "name",
    }  # fmt: skip
    assert about["coders"][0]["left_out"] == {"of other media": 40}


UNCLEAR = {
    "no name and no length fits": project(BOTH, {1: ["part1.mp4", "x.mp4"]}),
    "both have that length": project(
        [*OTHER, *turns(120.125)],
        {1: ["a.mp4", "b.mp4"]},
        lengths={"a.mp4": 120.125, "b.mp4": 120.0},
    ),
    "the name stands twice": project(BOTH, {1: ["visit.mp4", "visit.mp4"]}),
    "the length before it is unknown": project(
        BOTH, {1: ["part1.mp4", "visit.mp4"]}, lengths={"visit.mp4": 120.0}
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_an_unclear_choice_is_refused_with_what_to_pass(moppet, tmp_path, name):
    path = saved(tmp_path, UNCLEAR[name])
    code, out, err = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "--media" in err and ".mp4'" in err
    assert not (tmp_path / "r").exists()


def test_the_medium_may_be_named(moppet, tmp_path):
    clip = write_clip(tmp_path)
    path = saved(tmp_path, UNCLEAR["both have that length"])
    kappas = []
    for medium in ("a.mp4", "B.MP4", "#2"):
        options = ("--media", medium, "-o", tmp_path / "r", "--json")
        code, out, _ = moppet("compare", clip, path, *options)
        found = json.loads(out)
        assert code == 0 and found["about"]["coders"][0]["medium"]["chosen_by"] == "option"
        kappas.append(found["pairs"][0]["units"]["kappa"]["value"])
    assert kappas[0] < 0.1 and kappas[1:] == [1.0, 1.0]
    code, _, err = moppet("compare", clip, path, "--media", "c.mp4", "-o", tmp_path / "r")
    assert code == 2 and "no medium 'c.mp4'" in err and "'a.mp4' (120.1 s)" in err


def test_a_table_without_lengths_is_refused_or_takes_the_start_from_the_offset(moppet, tmp_path):
    clip = write_clip(tmp_path)
    path = saved(tmp_path, aggregated(BOTH, durations="NA"), "c.tsv")
    code, _, err = moppet("compare", clip, path, "-o", tmp_path / "r")
    assert code == 2 and "the time at which 'visit.mp4' starts" in err and "--offset" in err
    options = ("--media", "visit.mp4", "--offset", "-130", "-o", tmp_path / "r", "--json")
    code, out, _ = moppet("compare", clip, path, *options)
    assert code == 0 and json.loads(out)["pairs"][0]["units"]["kappa"]["value"] == 1.0


def test_the_sound_of_the_recording_does_not_decide_for_another_video(moppet, tmp_path):
    media = [("visit.wav", 0, "audio/x-wav"), ("room.mp4", 4000, VIDEO)]
    path = saved(tmp_path, eaf(turns(), media), "c.eaf")
    code, _, err = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 2 and "'visit.wav', 'room.mp4'" in err and "--media" in err


def test_accents_are_compared_as_they_are_read(tmp_path):
    path = saved(tmp_path, project(BOTH, {1: ["part1.mp4", "visite\u0301.mp4"]}))
    placed = place(read_coding(path), path, Recording("Visit\u00e9.mp4", 120.0))
    assert placed.chosen_by == "name" and placed.coding.lanes[0].codes[0] == Code(0, 3, "calm")


def test_media_without_their_own_time_need_no_choice(moppet, tmp_path):
    media = [("a.mp4", 0, VIDEO), ("b.mp4", 0, VIDEO), ("b.wav", 0, "audio/x-wav")]
    path = saved(tmp_path, eaf(turns(), media), "c.eaf")
    code, out, _ = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")
    assert code == 0 and "Note: c.eaf codes a.mp4, but the timeline is of visit.mp4." in out


@pytest.mark.parametrize("nothing", ["NA", "", "nan"])
def test_na_is_no_file(moppet, tmp_path, nothing):
    table = aggregated(turns()).replace(f"{FOLDER}part1.mp4", nothing)
    table = table.replace("player #1:part1.mp4;visit.mp4", "NA").replace(f"{FOLDER}visit.mp4", "")
    path = saved(tmp_path, table, "c.tsv")
    assert read_coding(path).media == () and read_coding(path).source_name is None
    out = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")[1]
    assert "but the timeline is of" not in out


def test_an_observation_may_be_found_by_its_medium(tmp_path):
    two = project(turns(), {1: ["visit.mp4"]}, name="coder A")
    two["observations"] |= project(OTHER, {1: ["part1.mp4"]}, name="coder B")["observations"]
    path = saved(tmp_path, two)
    placed = place(read_coding(path), path, Recording("visit.mp4", 120.0))
    (lane,) = placed.coding.lanes
    assert (lane.observation, lane.codes[0]) == ("coder A", Code(0.0, 3.0, "calm"))
    with pytest.raises(UsageError, match=r"'coder A', 'coder B'.*--observation"):
        place(read_coding(path), path, Recording("other.mp4", 120.0))


def test_a_fault_of_the_observation_with_the_recordings_medium_is_told(tmp_path):
    two = project(turns(), {1: ["visit.mp4"]}, name="coder A")
    two["observations"]["coder A"]["events"].pop()
    two["observations"] |= project(OTHER, {1: ["part1.mp4"]}, name="coder B")["observations"]
    path = saved(tmp_path, two)
    with pytest.raises(TimelineError, match="never stops"):
        place(read_coding(path), path, Recording("visit.mp4", 120.0))


def test_a_code_across_two_files_is_cut_at_their_border(tmp_path):
    codes = [(100.0, 140.0, "calm"), (130.0, 131.0, "smile"), (1.0, 2.0, "sad")]
    path = saved(tmp_path, project(codes, {1: ["part1.mp4", "visit.mp4"]}))
    for name, expected in (
        ("visit.mp4", (Code(0.0, 1.0, "smile"), Code(0.0, 10.0, "calm"))),
        ("part1.mp4", (Code(1.0, 2.0, "sad"), Code(100.0, 130.0, "calm"))),
    ):
        placed = place(read_coding(path), path, Recording(name, LENGTHS[name]))
        assert placed.coding.lanes[0].codes == expected
        assert placed.coding.lanes[0].left_out == {"of other media": 1}


def test_codes_outside_the_recording_and_another_length_are_noted(moppet, tmp_path):
    codes = [*turns(), (500.0, 510.0, "calm")]
    path = saved(tmp_path, project(codes, {1: ["visit.mp4"]}, lengths={"visit.mp4": 600.0}))
    out = moppet("compare", write_clip(tmp_path), path, "-o", tmp_path / "r")[1]
    assert "1 of 41 codes in 'child behavior' lies outside the recording (0 to 120.0 s)." in out
    assert "was coded on 'visit.mp4' (600.0 s), but the analyzed recording has 120.0 s" in out


def test_the_guard_takes_the_codes_of_its_own_video(tmp_path):
    from moppet.coders.comparison import coded_times
    from moppet.values import EXPRESSIONS, GROUPS

    codes = [(10.0, 12.0, "cry"), (140.0, 145.0, "cry")]
    path = saved(tmp_path, project(codes, {1: ["part1.mp4", "visit.mp4"]}))
    told: list[str] = []
    found = coded_times(
        *(Path(path), None, "negative", EXPRESSIONS, GROUPS),
        recording="visit.mp4",
        tell=told.append,
    )
    assert found == [(10.0, 15.0)] and "starts at 130.000 s" in told[0]
