"""How many of each class are made, as a table that is printed first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from moppet.app.synthesis.job import Job
from moppet.synthesise.plan import Plan, make_plan
from moppet.synthesise.settings import Settings, nearest
from moppet.values import UsageError

_PROMPTS: Final = 3


def read_targets(
    names: Sequence[str], counts: Mapping[str, int], per_class: int | None, targets: Sequence[str]
) -> dict[str, int]:
    """Return how many pictures to make of each class.

    Without a word of how many, as many as bring every class to the largest one's number.
    Raises UsageError for what cannot be read, and where nothing is left to make.
    """
    wanted = dict.fromkeys(names, per_class) if per_class is not None else {}
    for text in targets:
        name, equals, number = (part.strip() for part in text.rpartition("="))
        if not equals or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--target takes class=N, such as sadness=200, got {text!r}.")
        if name not in names:
            raise UsageError(f"--target names the class {name!r}.{nearest(name, names)}")
        wanted[name] = int(number)
    if not wanted:
        most = max(counts.values(), default=0)
        wanted = {name: most - count for name, count in counts.items() if 0 < count < most}
    found = {name: wanted[name] for name in names if wanted.get(name)}
    if not found:
        raise UsageError(
            "every class has the same number of pictures, so there is nothing to even out: say how "
            "many to make with --per-class N or --target class=N."
        )
    return {name: int(count or 0) for name, count in found.items()}


def plan_job(job: Job, settings: Settings, counts: Mapping[str, int]) -> Plan:
    names = [name for name in counts if counts[name] or job.targets] or list(counts)
    return make_plan(settings, read_targets(names, counts, job.per_class, job.targets))


def print_plan(console: Console, plan: Plan, learn_from: Mapping[str, int]) -> None:
    table = Table(title="what will be made", title_justify="left", min_width=17)
    for name in ("class", "to learn from", "to make", "together"):
        table.add_column(name, justify="left" if name == "class" else "right")
    made = {name: sum(values.values()) for name, values in plan.counts().items()}
    for name, there in learn_from.items():
        new = made.get(name, 0)
        table.add_row(name, f"{there:,}", f"{new:,}" if new else "–", f"{there + new:,}")
    console.print(table)
    for factor in plan.factors:
        title = factor.replace("_", " ")
        counts = plan.counts(factor)
        values = list(dict.fromkeys(v for row in counts.values() for v in row))
        table = Table(title=f"by {title}", title_justify="left", min_width=len(title) + 3)
        table.add_column("class")
        for value in values:
            table.add_column(value, justify="right")
        for name, row in counts.items():
            table.add_row(name, *(str(row.get(value, 0)) for value in values))
        console.print(table)
    for request in plan.requests[:_PROMPTS]:
        if request.prompt:
            console.print(f"prompt: {request.prompt}", soft_wrap=True)
