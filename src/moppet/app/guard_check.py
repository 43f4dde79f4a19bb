"""A guard beside people's codes of the same recording: what it found, missed and imagined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moppet.app.comparison.chosen import choose_lane
from moppet.metrics import Estimate
from moppet.timeline.agreement import Vocabulary, check_known
from moppet.timeline.coders import read_coding
from moppet.timeline.guard import Found

DISTRESS: Final = "negative"


def coded_distress(
    path: Path,
    tier: str | None,
    names: Sequence[str],
    group_of: Mapping[str, str],
    recording: str,
) -> list[tuple[float, float]]:
    """Return start and end of each code of distress, in seconds: those that mean "negative".

    path: a coder's file, as `moppet compare` takes it, or corrections. tier: which part of it.
    Raises UsageError for a tier or label that is unknown, TimelineError for a file that is none.
    """
    vocabulary = Vocabulary(names, group_of, {})
    lane = choose_lane(
        *(read_coding(path), path, vocabulary),
        tier=tier,
        observation=None,
        recording=recording,
    )
    check_known(lane.labels, vocabulary, str(path))
    return [
        (code.start_s, code.end_s)
        for code in lane.codes
        if not code.is_point and vocabulary.at("group", code.label) == DISTRESS
    ]


def found_lines(found: Found) -> Iterator[str]:
    """Yield what a guard found in words, with 95 % intervals."""
    n = len(found.distress)
    yield f"coded distress: {n}, found {len(found.delays_s)}, missed {_text(found.missed, '.2f')}"
    for one in found.distress:
        when = f"  {one.start_s:.1f}-{one.end_s:.1f} s"
        late = "missed" if math.isnan(one.delay_s) else f"found after {one.delay_s:.1f} s"
        yield f"{when}: {late}"
    if found.delays_s:
        yield f"median delay {found.median_delay_s:.1f} s, longest {max(found.delays_s):.1f} s"
    rate = _text(found.false_alarms_per_hour, ".1f")
    yield (
        f"false alarms: {len(found.false_alarms_s)} in {found.calm_s / 60:.1f} min without "
        f"distress, {rate} an hour"
    )


def found_record(found: Found) -> dict[str, Any]:
    """Return the same as JSON holds it, None for what is undefined."""
    return {
        "event": "measured",
        "distress": [
            {name: _known(value) for name, value in one._asdict().items()} for one in found.distress
        ],
        "false_alarms_s": list(found.false_alarms_s),
        "calm_s": found.calm_s,
        "missed": _plain(found.missed),
        "false_alarms_per_hour": _plain(found.false_alarms_per_hour),
        "median_delay_s": _known(found.median_delay_s),
    }


def _text(estimate: Estimate, form: str) -> str:
    if math.isnan(estimate.value):
        return "–"
    low, high = (format(v, form) for v in (estimate.low, estimate.high))
    return f"{format(estimate.value, form)} ({low}-{high})"


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {name: _known(value) for name, value in estimate._asdict().items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
