"""The class table before and after balancing, as text (Wu's Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_HEADS: Final = ("class", "before", "share", "removed", "made", "after", "share")


class ClassCount(NamedTuple):
    """Rows of one class: before = kept + removed, after = kept + made."""

    name: str
    before: int
    removed: int
    made: int
    after: int


def class_table(counts: Sequence[ClassCount]) -> str:
    """Return rows by class before and after, with their shares, as lines of text.

    Below: how many times the largest class is the smallest one of those that have rows.
    """
    total = ClassCount(
        "all",
        before=sum(one.before for one in counts),
        removed=sum(one.removed for one in counts),
        made=sum(one.made for one in counts),
        after=sum(one.after for one in counts),
    )
    lines = [_HEADS, *(_cells(one, total) for one in (*counts, total))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADS))]
    text = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    before = imbalance([one.before for one in counts])
    after = imbalance([one.after for one in counts])
    said = f"largest to smallest class: {before:.1f} before, {after:.1f} after"
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1], said])


def imbalance(counts: Sequence[int]) -> float:
    """Return how many times the largest class is the smallest, of those with rows; NaN of none."""
    there = [n for n in counts if n]
    return max(there) / min(there) if there else float("nan")


def _cells(one: ClassCount, total: ClassCount) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.before:,}",
        _share(one.before, total.before),
        f"-{one.removed:,}" if one.removed else "0",
        f"+{one.made:,}" if one.made else "0",
        f"{one.after:,}",
        _share(one.after, total.after),
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
