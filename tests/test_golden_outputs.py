"""Golden outputs: what moppet 0.1.0 put out, number by number and code by code.

Frozen before modules, options and words got new names, by `tools/freeze_golden_outputs.py` with
OpenCV 4.11. Only numbers and codes are compared (names of expressions, groups and states), never
sentences, captions or titles; moppet is driven from outside, by its command line and its public
names. New keys, columns of files and rows of a report's tables may come; none that is here may go
or change.

What may be renamed:
- Keys of JSON and columns of summary.csv, if their new name stands in RENAMED.
- Names of modules, options (the old spelling must still be read), tiers, captions, titles.
- The head of log.csv: its columns are compared in their order.
What may not: expressions, groups and states; the timeline's columns; the names of files:
`timeline.parquet`, `agreement.json`, `evaluation.json`, `log.csv`, `card.toml` and others.

Tolerances. OpenCV 4.11.0 and 4.14.0 (PyAV 18.1 and ONNX Runtime 1.31 beside both) gave the same
bits: every column of the example, its report's numbers, its agreement and the evaluation. The
tolerances are therefore for other processors, whose kernels round otherwise. They are below what
would turn a code of the example: the two likeliest expressions are at least 0.012 apart, the two
likeliest groups 0.019, and no row's confidence is nearer to the line of `unsure` than 0.0012.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import golden_outputs as golden
import moppet

RENAMED = {
    "made": ("about", "synthetic", "provenance", "source"),
    "words": ("code_map",),
    "made_at": ("created_at",),
    "made_seconds": ("synthesis_seconds", "generation_seconds"),
    "analysed_s": ("analyzed_s",),
    "licence": ("license",),
    "choose": ("val",),
    "choose_loss": ("val_loss",),
    "choose_accuracy": ("val_accuracy",),
    "choose_balanced": ("val_balanced",),
    "report": ("test",),
    "went": ("outcomes", "notes", "exceptions"),
    "missed_wrong": ("missed_counted_wrong", "accuracy_missed_wrong"),
    "one_rater": ("single_rater",),
    "commonest": ("majority",),
    "copies": ("duplicates",),
    "exact_copies": ("exact_duplicates",),
    "pictures": ("images",),
    "–": ("none", "unspecified", ""),
}
"""Key of a JSON → what it may be called now. Add a new name here when a key gets one."""

EXACT = 1e-9
PROBABILITY = 5e-4
TOLERANCES = {"box_": 0.05, "yaw": 0.1, "pitch": 0.1, "roll": 0.1, "quality": 1e-3}
"""By the start of a column's name: pixels, degrees, a share. All others are probabilities."""
MEASURED = 1e-3
"""Of figures that follow from probabilities."""


def differences(then: Any, now: Any, *, within: float = EXACT, where: str = "") -> Iterator[str]:
    """Say where two plain values differ. What only the new one has is no difference."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key, value in then.items():
            names = [name for name in (key, *RENAMED.get(key, ())) if name in now]
            if names:
                yield from differences(value, now[names[0]], within=within, where=f"{where}/{key}")
            else:
                yield f"{where}/{key} is gone: there are {', '.join(map(str, now))}"
    elif isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            yield f"{where}: {len(then)} values were, {len(now)} are"
        for number, (one, other) in enumerate(zip(then, now, strict=False)):
            yield from differences(one, other, within=within, where=f"{where}/{number}")
    elif _is_number(then) and _is_number(now):
        if not (
            math.isclose(then, now, rel_tol=EXACT, abs_tol=within) or (then != then and now != now)
        ):
            yield f"{where}: {then} was, {now} is"
    elif then != now or isinstance(then, bool) != isinstance(now, bool):
        yield f"{where}: {then!r} was, {now!r} is"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def assert_same(then: Any, now: Any, *, within: float = EXACT) -> None:
    found = list(differences(then, now, within=within))
    assert not found, "\n".join(found[:20])


def assert_same_columns(then: dict[str, list[Any]], now: dict[str, list[Any]]) -> None:
    """Numbers of a timeline within what another processor may do to them; codes are the same."""
    found = [
        text
        for name, column in then.items()
        for text in differences(column, now.get(name), within=_tolerance(name), where=name)
    ]
    assert not found, "\n".join(found[:20])


def _tolerance(column: str) -> float:
    if column in ("frame", "time_s", "face_id"):
        return EXACT
    return next((t for start, t in TOLERANCES.items() if column.startswith(start)), PROBABILITY)


def assert_same_tables(then: list[list[str]], now: list[list[str]]) -> None:
    """Every row of a page's tables is there; its shares within one of their last digit."""
    left = [list(row) for row in now]
    for row in then:
        match = next((other for other in left if _same_row(row, other)), None)
        assert match is not None, f"this row of the page's tables is gone: {row}"
        left.remove(match)


def _same_row(then: list[str], now: list[str]) -> bool:
    if len(then) != len(now):
        return False
    return all(a == b or _near(a, b) for a, b in zip(then, now, strict=True))


def _near(then: str, now: str) -> bool:
    """Shares, which follow from probabilities, may differ by one of the last digit."""
    if not (then.endswith("%") and now.endswith("%")):
        return False
    a, b = then[:-1], now[:-1]
    digits = min(len(x.partition(".")[2]) for x in (a, b))
    return abs(float(a) - float(b)) <= 1.001 * 10**-digits


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """outputs(name) → what was, and what is; each is made once."""
    made: dict[str, Any] = {}

    def find(name: str) -> tuple[Any, Any]:
        if name not in made:
            made[name] = golden.OUTPUTS[name](tmp_path_factory.mktemp(name))
        return golden.read_golden(name), made[name]

    return find


# ------------------------------------------------------------------------------- the example


def test_the_examples_timeline_is_what_it_was(outputs: Any) -> None:
    then, now = outputs("example")
    assert_same_columns(then["timeline"], now["timeline"])


def test_the_example_has_the_same_groups_by_the_largest_sum_of_probabilities(outputs: Any) -> None:
    """So the example does not tell the rule of 0.1.0 (the group of the likeliest expression) from
    that of the sums: both must give these groups."""
    _, now = outputs("example")
    columns = now["timeline"]
    of_group = {
        group: [name for name in moppet.EXPRESSIONS if moppet.GROUPS[name] == group]
        for group in set(moppet.GROUPS.values())
    }
    for row, group in enumerate(columns["group"]):
        if group is None:
            assert columns["face_id"][row] is None
            continue
        sums = {
            each: sum(columns[f"s_{name}"][row] for name in names)
            for each, names in of_group.items()
        }
        assert group == max(sums, key=sums.__getitem__) == moppet.GROUPS[columns["expression"][row]]


def test_the_examples_summary_is_what_it_was(outputs: Any) -> None:
    then, now = outputs("example")
    assert_same(then["summary"], now["summary"])


def test_the_examples_report_shows_the_same_numbers(outputs: Any) -> None:
    then, now = outputs("example")
    assert len(then["report"]) > 100
    assert_same_tables(then["report"], now["report"])


@pytest.mark.parametrize("level", ["expression", "group"])
def test_the_example_agrees_with_two_coders_as_it_did(outputs: Any, level: str) -> None:
    then, now = outputs("example")
    assert len(then["agreement"][level]["pairs"]) == 4
    assert_same(then["agreement"][level], now["agreement"][level], within=1e-6)


# ------------------------------------------------------------------------------- evaluation


def test_an_evaluation_gives_the_figures_that_it_gave(outputs: Any) -> None:
    then, now = outputs("evaluation")
    assert_same(then, now, within=MEASURED)


# ---------------------------------------------------------------------------------- studies


@pytest.mark.parametrize("name", ["happy_sad_study", "synthesis_study", "infant_study"])
def test_a_finished_study_is_summed_up_as_it_was(outputs: Any, name: str) -> None:
    then, now = outputs(name)
    assert then["rows"] and then["page"]
    assert_same(then, now)


@pytest.mark.skipif(
    "MOPPET_FERPLUS" not in os.environ,
    reason="takes minutes, and FER+: set MOPPET_FERPLUS to the path of ferplus_dev.npz",
)
@pytest.mark.parametrize("name", ["child-happy-sad", "child-synthesis", "infant-hybrid"])
def test_a_committed_study_is_what_its_cells_and_data_give(tmp_path: Path, name: str) -> None:
    output = golden.study_of_real_rows(tmp_path, name, Path(os.environ["MOPPET_FERPLUS"]))
    committed = golden.STUDIES / f"{name}.json"
    assert golden.read_rows(output / f"{name}.json") == golden.read_rows(committed)
    pages = (golden.STUDIES / f"{name}.md", output / f"{name}.md")
    then, now = map(golden.page_numbers, pages)
    assert then == now


# ------------------------------------------------------------------- files of moppet 0.1.0


def test_an_old_timeline_is_read_with_the_same_values_in_every_format(outputs: Any) -> None:
    then, now = outputs("old_timelines")
    assert_same(then["timeline"], now["timeline"])
    for kind in ("csv", "json"):
        columns = golden.columns_of(golden.OLD / "whole" / "clip" / f"timeline.{kind}")
        assert_same(then["timeline"], columns)


def test_old_people_and_corrections_are_exported_as_they_were(outputs: Any) -> None:
    then, now = outputs("old_timelines")
    assert then["summary"]["people"] == ["Ana", "Mia"]
    assert_same(then["summary"], now["summary"])
    assert ["Mia", 1200, 2000, "surprise"] in then["annotations"]  # somebody's correction
    assert_same(then["annotations"], now["annotations"], within=0.011)  # probabilities as written


def test_an_old_timeline_gives_the_same_report(outputs: Any) -> None:
    then, now = outputs("old_timelines")
    assert_same_tables(then["report"], now["report"])


def test_an_analysis_that_was_stopped_goes_on_from_its_old_journal(outputs: Any) -> None:
    then, now = outputs("old_timelines")
    assert_same_columns(then["resumed"], now["resumed"])
    codes = ("frame", "face_id", "status", "expression", "group", "unsure")  # as if never stopped
    assert_same(*({name: of[name] for name in codes} for of in (then["timeline"], now["resumed"])))


def test_a_model_folder_of_old_reads_as_it_did(tmp_path: Path) -> None:
    model = shutil.copytree(golden.OLD / "model", tmp_path / "model")
    # Up to the clip's first hard cut, at which version 0.1.0 did not search anew.
    found = moppet.analyze(golden.OLD / "clip.mp4", model=str(model), end_s=0.6).table
    then = golden.read_golden("old_timelines")["timeline"]
    names = [f"p_{name}" for name in moppet.EXPRESSIONS]
    assert found.num_rows == 6
    assert_same_columns(
        {name: then[name][:6] for name in names},
        {name: found[name].to_pylist() for name in names},
    )


def test_old_manifests_with_choose_report_and_made_rows_are_read(outputs: Any) -> None:
    then, now = outputs("old_manifests")
    counts = then["audit"]["made"]["class_counts"]["happiness"]
    assert counts == {"choose": 1, "report": 2, "train": 4 + 3}  # three made ones
    assert_same(then, now, within=MEASURED)


def test_a_stopped_training_goes_on_from_its_old_checkpoint(outputs: Any) -> None:
    then, now = outputs("old_run")
    assert_same(then["log"][0], now["log"][0])  # the epoch that was done
    assert_same(then, now, within=MEASURED)
