"""`moppet summarize`: groups of a study, comparisons, courses around events, and figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import moppet as package
from cohort_sample import LAG_S, write_study
from command_line import Run
from moppet.cohort.events import Event, read_courses, read_events
from moppet.cohort.statistics import Question, compare_levels, summarize_study
from moppet.cohort.study_folder import StudyFolder, read_study
from moppet.values import UsageError


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    folder = tmp_path_factory.mktemp("summarize")
    results, listed = write_study(folder, dyads=6, seconds=40)
    package.gather(results, folder / "study", listed)
    return read_study(folder / "study")


def test_a_known_difference_is_found_and_its_sign_is_right(study: StudyFolder) -> None:
    question = Question(by=("condition", "role"), labels=("happiness",))
    found = summarize_study(study, question)
    assert found.levels == {"condition": ("alone", "play"), "role": ("child", "caregiver")}
    alone, play = (found.cell("happiness", (c, "child")) for c in ("alone", "play"))
    assert alone is not None and play is not None
    assert alone.estimate.value == pytest.approx(0.2, abs=0.06)
    assert play.estimate.value == pytest.approx(0.5, abs=0.06)
    assert alone.estimate.low < alone.estimate.value < alone.estimate.high
    one = next(c for c in found.comparisons if c.within == ("child",))
    assert one.paired and one.n == (6,) and (one.first, one.second) == ("alone", "play")
    assert one.difference.high < 0 and one.effect < 0
    assert one.p == pytest.approx(2 / 2**6) and one.p_holm == pytest.approx(2 * one.p)


def test_a_participant_counts_once_weighted_by_its_time(study: StudyFolder) -> None:
    found = summarize_study(study, Question(by=("role",), labels=("happiness",)))
    cell = found.cell("happiness", ("child",))
    assert cell is not None and cell.recordings == 12 and cell.estimate.n == 6
    rows = [
        row
        for row in study.summary
        if (row["role"], row["label"], row["participant"]) == ("child", "happiness", "03")
    ]
    times = [row["face_sure_s"] for row in rows]
    wanted = np.average([row["corrected_share"] for row in rows], weights=times)
    assert cell.values[3] == pytest.approx(wanted)


def test_the_mean_and_its_interval_are_those_of_the_participants(study: StudyFolder) -> None:
    found = summarize_study(study, Question(by=("role",), labels=("happiness",), draws=4000))
    cell = found.cell("happiness", ("caregiver",))
    assert cell is not None and cell.estimate.value == pytest.approx(cell.values.mean())
    rng = np.random.default_rng(5)
    drawn = rng.choice(cell.values, (20000, len(cell.values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    assert cell.estimate.low == pytest.approx(low, abs=0.1 * width)
    assert cell.estimate.high == pytest.approx(high, abs=0.1 * width)


def test_a_paired_comparison_is_an_exact_sign_flip_test() -> None:
    a = np.array([0.3, 0.5, 0.2, 0.9, 0.4, np.nan])
    b = np.array([0.1, 0.6, 0.1, 0.5, 0.1, 0.7])
    rng = np.random.default_rng(0)
    paired, n, difference, effect, p, _ = compare_levels(a, b, rng, 500)
    d = (a - b)[:5]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
    null = (signs * d[:, None]).mean(axis=0)
    assert paired and n == (5,)
    # as scipy defines it: twice the smaller tail
    tail = min((null >= d.mean() - 1e-12).mean(), (null <= d.mean() + 1e-12).mean())
    assert p == pytest.approx(min(1, 2 * tail))
    assert difference.value == pytest.approx(d.mean())
    assert effect == pytest.approx(d.mean() / d.std(ddof=1))


def test_groups_without_pairs_are_compared_by_exchanging_participants() -> None:
    a = np.array([0.3, 0.5, 0.45, 0.6, *[np.nan] * 4])
    b = np.array([*[np.nan] * 4, 0.1, 0.35, 0.15, 0.2])
    paired, n, difference, _, p, _ = compare_levels(a, b, np.random.default_rng(0), 500)
    wanted = stats.permutation_test(
        (a[:4], b[4:]), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=np.inf
    )
    assert not paired and n == (4, 4) and p == pytest.approx(wanted.pvalue)
    assert difference.low < difference.value < difference.high


def test_too_few_participants_give_no_p_value() -> None:
    a, b = np.array([0.5, np.nan]), np.array([np.nan, 0.1])
    paired, n, difference, effect, p, _ = compare_levels(a, b, np.random.default_rng(0), 100)
    assert not paired and n == (1, 1) and difference.value == pytest.approx(0.4)
    assert all(np.isnan(x) for x in (difference.low, effect, p))


def test_the_caregiver_follows_the_childs_smiles_by_the_lag(study: StudyFolder) -> None:
    events = []
    with (study.folder / "episodes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["role"], row["kind"], row["label"]) == ("child", "expression", "happiness"):
                events.append(Event(row["recording"], float(row["start_s"]), "smile"))
    question = Question(by=("role", "condition"), labels=("happiness",))
    found = read_courses(study, question, ["happiness"], events, 1, 3, 0.25)
    rise = {}
    for course in (course for course in found.courses if course.levels[1] == "alone"):
        value = np.array([estimate.value for estimate in course.estimates])
        rise[course.levels[0]] = course.middle_s[np.argmax(value > (value[0] + value.max()) / 2)]
        assert course.events == sum(event.recording.endswith("alone") for event in events)
    assert rise["child"] == pytest.approx(0, abs=0.3)
    assert rise["caregiver"] - rise["child"] == pytest.approx(LAG_S, abs=0.4)


def test_strips_show_what_is_shown_most(study: StudyFolder) -> None:
    found = read_courses(study, Question(), ["happiness"])
    assert len(found.strips) == 24 and found.courses == ()
    strip = next(s for s in found.strips if (s.recording, s.role) == ("c00/play", "child"))
    happy = (strip.code == found.labels.index("happiness")).mean()
    rows = (r for r in study.summary if (r["recording"], r["role"]) == ("c00/play", "child"))
    share = next(r["share"] for r in rows if r["label"] == "happiness")
    assert happy == pytest.approx(share, abs=0.05)


def test_codes_of_a_coder_are_events_of_the_recording_they_are_called_like(
    study: StudyFolder, tmp_path: Path
) -> None:
    from moppet.coders import Code, Coding, Lane, write_program

    codes = (Code(3.0, 4.0, "toy"), Code(9.5, 9.9, "song"))
    coding = Coding((Lane("events", codes),), source_name="other.mp4", duration_s=40.0)
    (path,) = write_program(coding, tmp_path, "c02_play", "elan")
    assert read_events([path], study, ["toy"]) == [Event("c02/play", 3.0, "toy")]
    with pytest.raises(UsageError, match=r"no event 'toi'\. Did you mean 'toy'"):
        read_events([tmp_path], study, ["toi"])
    path.rename(tmp_path / "elsewhere.eaf")
    with pytest.raises(UsageError, match="belongs to no recording of the study"):
        read_events([tmp_path], study, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recording,time_s\nc00/plai,3\n", "no recording 'c00/plai'.*Did you mean 'c00/play'"),
        ("recording,time_s\nplay.mp4,3\n", "'play.mp4' in row 2 of .* may be c00/play or"),
        ("recording,time_s\nc00/play,soon\n", "needs a number of seconds, got 'soon'"),
        ("recording,time_s\n", "There are no events"),
    ],
)
def test_events_that_are_none_are_refused(
    study: StudyFolder, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "events.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_events([tmp_path / "events.csv"], study, [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--by", "rolle"), "there is no 'rolle'. Did you mean 'role'"),
        (("--label", "hapiness"), "no expression 'hapiness'. Did you mean 'happiness'"),
        (("--what", "smell"), "--what takes any of"),
        (("--measure", "median"), "--measure takes any of"),
        (("--by", "recording", "--label", "happiness"), None),
    ],
)
def test_wrong_options_name_the_remedy(
    study: StudyFolder, moppet: Run, tmp_path: Path, options: tuple[str, ...], said: str | None
) -> None:
    done = moppet("summarize", study.folder, "-o", tmp_path / "s", "--no-figures", *options)
    if said is None:
        assert done.code == 0
    else:
        assert done.code == 2 and said in done.err and not (tmp_path / "s").exists()


def test_the_command_writes_tables_figures_and_a_page(
    study: StudyFolder, moppet: Run, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    events = tmp_path / "events.csv"
    events.write_text("recording,time_s,event\nc00/play,5,toy\nc01/play,9,toy\n")
    folder = tmp_path / "summary"
    given = ("--by", "condition,role", "--what", "group", "--events", events)
    done = moppet("summarize", study.folder, "-o", folder, *given)
    assert done.code == 0 and "alone – play" in done.out and "6 participants" in done.out
    files = {path.name for path in folder.iterdir()}
    drawn = {f"{n}.{k}" for n in ("distributions", "courses", "strips") for k in ("svg", "pdf")}
    tables = {"groups.csv", "comparisons.csv", "courses.csv", "summary.json", "index.html"}
    assert files == drawn | tables
    result = json.loads((folder / "summary.json").read_text())
    with (folder / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result["cells"])
    assert float(rows[0]["value"]) == result["cells"][0]["value"]
    assert (folder / "strips.pdf").read_bytes().startswith(b"%PDF")
    page = (folder / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 3 and "http" not in page.split("<body>")[1]
    before = (folder / "distributions.svg").read_bytes()
    moppet("summarize", study.folder, "-o", folder, *given)
    assert (folder / "distributions.svg").read_bytes() == before


def test_figures_show_every_participant(study: StudyFolder) -> None:
    pytest.importorskip("matplotlib")
    from moppet.pages.cohort_figures import draw_distributions

    found = summarize_study(study, Question(by=("condition",), labels=("happiness",)))
    ax = draw_distributions(found).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    shown = np.sort(np.concatenate([np.asarray(line.get_ydata()) for line in dots]))
    wanted = np.sort(np.concatenate([cell.values for cell in found.cells]))
    assert shown == pytest.approx(wanted)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["alone", "play"]
