"""Agreement over many recordings, and blind samples for coders."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import moppet as package
from cohort_sample import dyad_timeline
from command_line import Run
from moppet.coders import Code, Coding, Lane, read_coding, write_program
from moppet.coders.comparison import Coder, Job, compare_files
from moppet.coders.pooled import compare_list, read_jobs
from moppet.coders.sampling import draw_segments, read_share
from moppet.metrics import cohen_kappa, krippendorff_alpha
from moppet.values import UsageError


def codes_of(course: np.ndarray, wrong: np.ndarray) -> tuple[Code, ...]:
    """A coder who codes every second, and errs in some."""
    happy = np.array([course[10 * i] > 0 for i in range(len(course) // 10)]) ^ wrong
    words = np.where(happy, "happiness", "neutral")
    return tuple(Code(float(i), i + 1.0, str(word)) for i, word in enumerate(words))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings of two participants; the first coder errs in 10, the second in 30 %."""
    place = tmp_path_factory.mktemp("pooled")
    rows = []
    for number in range(4):
        rng = np.random.default_rng(number)
        course = np.repeat(rng.random(40) < 0.2 + 0.15 * number, 10).astype(float)
        about = {"source_name": f"r{number}.mp4", "source_sha256": f"{number:064d}"}
        timeline = dyad_timeline(course, course * 0, rng, about)
        timeline.write(place / f"r{number}.parquet")
        row = {"timeline": f"r{number}.parquet", "face": "0", "participant": f"p{number % 2}"}
        for coder, rate in (("codes", 0.1), ("codes2", 0.3)):
            if coder == "codes2" and number == 3:
                continue
            lane = Lane("codes", codes_of(course, rng.random(40) < rate))
            coding = Coding((lane,), source_name=f"r{number}.mp4", duration_s=40.0)
            (path,) = write_program(coding, place, f"{coder}_{number}", "elan")
            row[coder] = path.name
        rows.append(row)
    with (place / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("timeline", "codes", "codes2", "face", "participant"))
        writer.writeheader()
        writer.writerows(rows)
    return place


def test_pooled_figures_are_those_of_all_units(folder: Path) -> None:
    common = Job(Path(), [Coder(Path())])
    found = compare_list(read_jobs(folder / "pairs.csv", common), 0)
    assert found.raters == ("coder 1", "coder 2", "machine")
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    assert len(pairs) == 3
    first, machine, everyone = [], [], []
    for result in found.results:
        tracks = result.comparison.tracks
        use = result.comparison.everyone
        first.append(tracks[0].value[use])
        machine.append(tracks[-1].value[use])
        both = np.full((3, len(use)), np.nan)
        for row, track in zip((0, 2) if len(tracks) == 2 else (0, 1, 2), tracks, strict=True):
            both[row] = np.where(track.value >= 0, track.value, np.nan)
        everyone.append(both)
    pair = pairs["coder 1", "machine"]
    kappa = cohen_kappa(np.concatenate(first), np.concatenate(machine), len(found.names))
    assert pair.kappa.value == pytest.approx(kappa) and 0.6 < kappa < 1
    assert pair.kappa.low <= kappa <= pair.kappa.high
    assert (pair.recordings, pair.participants) == (4, 2)
    assert pair.kappa.value > pairs["coder 2", "machine"].kappa.value
    assert pairs["coder 1", "coder 2"].recordings == 3
    alpha = krippendorff_alpha(np.concatenate(everyone, axis=1))
    assert found.alpha.value == pytest.approx(alpha)
    two, three = pair.shares["happiness"]
    assert two.n == 4 and 0.5 < two.value <= 1 and 0.5 < three.value <= 1
    assert "2 participants" in found.notes[0]


def test_one_recording_of_the_list_is_compared_as_alone(folder: Path) -> None:
    common = Job(Path(), [Coder(Path())])
    jobs = read_jobs(folder / "pairs.csv", common)[:1]
    alone = compare_files(jobs[0].job)
    found = compare_list(jobs, 0)
    overall = {p.first: p.units.overall["kappa"].value for p in alone.comparison.pairs[:2]}
    pairs = {(p.first, p.second): p.kappa.value for p in found.pairs}
    assert pairs["coder 1", "machine"] == pytest.approx(overall["coder 1"])
    assert pairs["coder 2", "machine"] == pytest.approx(overall["coder 2"])


def test_the_command_writes_a_table(folder: Path, moppet: Run, tmp_path: Path) -> None:
    done = moppet("compare", "--list", folder / "pairs.csv", "-o", tmp_path / "r")
    assert done.code == 0, done.err
    assert "Krippendorff's alpha" in done.out and "ICC(2,1)" in done.out
    content = json.loads((tmp_path / "r" / "reliability.json").read_text())
    assert content["recordings"] == 4 and len(content["comparisons"]) == 4
    with (tmp_path / "r" / "reliability.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["figure"] == "Krippendorff's alpha"
    assert float(rows[0]["value"]) == content["alpha"]["value"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timelines,codes\na,b\n", "needs a column 'timeline'"),
        ("timeline,codes\na,\n", "Row 2 of .* needs a timeline and codes"),
        ("timeline,codes,offset\na,b,soon\n", "needs a number of seconds as offset"),
        ("timeline,codes\n", "has no rows"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_jobs(tmp_path / "pairs.csv", Job(Path(), [Coder(Path())]))


def test_compare_without_files_names_both_ways(moppet: Run, folder: Path) -> None:
    done = moppet("compare")
    assert done.code == 2 and "a timeline and a coder's file, or --list" in done.err
    done = moppet("compare", "a.parquet", "b.eaf", "--list", folder / "pairs.csv")
    assert done.code == 2 and "--list names all files" in done.err


def test_a_sample_holds_segments_and_nothing_of_the_model(
    folder: Path, moppet: Run, tmp_path: Path
) -> None:
    paths = [folder / f"r{i}.parquet" for i in range(2)]
    given = ("--sample", "25 %", "--segment", "5", "-o", tmp_path / "s")
    done = moppet("export", *paths, *given)
    assert done.code == 0, done.err
    with (tmp_path / "s" / "sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4  # 2 of 8 segments in each recording
    for name in ("001_r0.eaf", "002_r1.eaf"):
        text = (tmp_path / "s" / name).read_text()
        assert not [w for w in ("happiness", "neutral", "positive", "face", "0.9") if w in text]
        lanes = {lane.title: lane.codes for lane in read_coding(tmp_path / "s" / name).lanes}
        mine = [row for row in rows if row["file"] == name]
        starts = [code.start_s for code in lanes["segments to code"]]
        assert starts == [float(row["start_s"]) for row in mine]
    again = moppet("export", *paths, *given, "--seed", "7")
    assert again.code == 0
    with (tmp_path / "s" / "sample.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) != rows


def test_a_coded_sample_is_compared_with_its_list(
    folder: Path, moppet: Run, tmp_path: Path
) -> None:
    place = tmp_path / "s"
    paths = [folder / f"r{i}.parquet" for i in range(2)]
    moppet("export", *paths, "--sample", "0.5", "--segment", "10", "-o", place)
    for path in place.glob("*.eaf"):
        lane = next(x for x in read_coding(path).lanes if x.title == "segments to code")
        codes = tuple(Code(c.start_s, c.end_s, "neutral") for c in lane.codes)
        coding = Coding((lane, Lane("codes", codes)), source_name=f"{path.stem[4:]}.mp4")
        write_program(coding, place, path.stem, "elan")
    done = moppet("compare", "--list", place / "list.csv", "--face", "0", "-o", tmp_path / "r")
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "r" / "reliability.json").read_text())
    assert content["pairs"][0]["compared_s"] == pytest.approx(40, abs=0.5)


def test_segments_do_not_overlap_and_reach_the_share() -> None:
    timeline = dyad_timeline(np.zeros(600), np.zeros(600), np.random.default_rng(0), {})
    for share in (0.01, 0.3, 1.0):
        found = draw_segments(timeline, share, 7.0, np.random.default_rng(1))
        ends = [(s.start_s, s.end_s) for s in found]
        assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(ends))
        assert sum(b - a for a, b in ends) >= min(share * 60, 56) - 1e-6
    many = [
        draw_segments(timeline, 0.1, 7.0, np.random.default_rng(i))[0].start_s for i in range(60)
    ]
    assert len(set(many)) == 8  # every segment may be drawn
    with pytest.raises(UsageError, match="a number of seconds above 0"):
        draw_segments(timeline, 0.1, 0.0, np.random.default_rng(0))


@pytest.mark.parametrize("text", ["0", "120%", "many", "-5%", "."])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a share such as 20%"):
        read_share(text)
    assert read_share("20 %") == read_share("0.2") == 0.2


def test_the_public_gather_takes_what_the_list_compares(folder: Path, tmp_path: Path) -> None:
    paths = [folder / f"r{i}.parquet" for i in range(2)]
    assert package.gather(paths, tmp_path / "study").recordings == 2
