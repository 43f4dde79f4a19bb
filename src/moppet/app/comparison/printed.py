"""A comparison as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan
from typing import Any

from rich.console import Console
from rich.table import Table

from moppet.app.comparison.run import Result
from moppet.metrics import Estimate
from moppet.timeline.agreement import Pair

NO_VALUE = "\N{EN DASH}"


def print_result(result: Result, console: Console) -> None:
    """Print what was compared, what was left out, the figures of every pair, and the files."""
    about = result.about
    unit_s = about["unit_s"]
    words = ", ".join(f"{label} = {name}" for label, name in about["words"].items())
    console.print(
        f"{about['recording'] or about['timeline']}: {about['level']}s of "
        f"{', '.join(about['people'])} in units of {unit_s} s; codes: {words}"
    )
    for note in result.notes:
        console.print(f"Note: {note}")
    for name, reasons in result.comparison.left_out_s().items():
        if reasons:
            parts = ", ".join(f"{seconds:.1f} s {reason}" for reason, seconds in reasons.items())
            console.print(f"without a value, {name}: {parts}")
    for pair in result.comparison.pairs:
        console.print()
        console.print(_table(pair, about))
    count = len(result.comparison.disagreements())
    console.print(f"\n{count} stretches of disagreement")
    for path in result.written:
        console.print(f"  {path}")


def _table(pair: Pair, about: Mapping[str, Any]) -> Table:
    where = " wherever both coded" if pair.where == "both coded" else ""
    table = Table(
        title=f"{pair.second} against {pair.first}{where}: {pair.seconds:.1f} s compared",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("")
    for column in ("value", "95 % interval", "rests on"):
        table.add_column(column, justify="right")
    for name, estimate, basis in _rows(pair, about):
        table.add_row(name, _number(estimate.value), _interval(estimate), basis)
    low, high = pair.events.quartiles_s
    if not isnan(low):
        table.add_row(
            "onset error, quartiles (s)",
            f"{round(low, 2) + 0.0:+.2f}",
            f"to {round(high, 2) + 0.0:+.2f}",
            "",
        )
    return table


def _rows(pair: Pair, about: Mapping[str, Any]) -> Iterator[tuple[str, Estimate, str]]:
    units, events = pair.units, pair.events
    blocks = f"{pair.blocks} stretches"
    yield "Cohen's kappa", units.overall["kappa"], blocks
    yield "agreement by unit", units.overall["agreement"], blocks
    tolerance = f"{about['tolerance_s']} s"
    yield f"… within {tolerance}", units.overall["agreement_within_tolerance"], blocks
    for name, estimate in units.recall.items():
        yield f"recall {name}", estimate, f"{estimate.n * about['unit_s']:.1f} s"
    yield f"events of {pair.first} found", events.found, f"{events.found.n} events"
    yield f"events of {pair.second} confirmed", events.confirmed, f"{events.confirmed.n} events"
    yield f"onsets within {tolerance}", events.within, f"{events.within.n} pairs"
    yield "onset error, median (s)", events.onset_s, f"{events.onset_s.n} pairs"


def _number(value: float) -> str:
    return NO_VALUE if isnan(value) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def _interval(estimate: Estimate) -> str:
    if isnan(estimate.low):
        return NO_VALUE
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
