"""Format times and compute the ticks of a time axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

NO_VALUE: Final = "\N{EN DASH}"
"""Text for undefined values, which are never shown as 0."""

TICK_STEPS_S: Final = (
    *(m * 10.0**e for e in (-3, -2, -1) for m in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0 * h for h in (1, 2, 3, 6, 12, 24)),
)


def format_time(seconds: float | None, step_s: float = 1.0) -> str:
    """Return seconds as 4.2 s, 1:05 or 1:02:03, rounded to step_s; a dash if undefined."""
    if seconds is None or not math.isfinite(seconds):
        return NO_VALUE
    digits = 0 if step_s >= 1 else min(3, math.ceil(-math.log10(step_s) - 1e-9))
    scale = 10**digits
    total = round(abs(seconds) * scale)
    sign = "\N{MINUS SIGN}" if seconds < 0 and total else ""
    whole, part = divmod(total, scale)
    tail = f".{part:0{digits}d}" if digits else ""
    if whole < 60:
        return f"{sign}{whole}{tail} s"
    hours, minutes = divmod(whole // 60, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{clock}:{whole % 60:02d}{tail}"


def format_length(seconds: float | None) -> str:
    """Return a duration, with tenths of a second below a minute; a dash if undefined."""
    return format_time(seconds, 1.0 if seconds is not None and seconds >= 60 else 0.1)


def tick_step(span_s: float, most: int = 8) -> float:
    """Return the smallest round step that gives at most `most` ticks."""
    return next((step for step in TICK_STEPS_S if span_s / step <= most), 7 * 86400.0)


def time_ticks(start_s: float, end_s: float) -> Iterator[tuple[float, str]]:
    """Yield the time and the text of each tick from start to end."""
    step = tick_step(end_s - start_s)
    first, last = math.ceil(start_s / step - 1e-9), math.floor(end_s / step + 1e-9)
    for i in range(first, min(last, first + 20) + 1):
        yield i * step, format_time(i * step, step)
