"""`moppet data audit`: what is wrong with pictures, on the terminal or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from moppet.app.data.source import Source, count_table, counted, watched

if TYPE_CHECKING:
    from moppet.data.audit import Audit

_SHOWN: Final = 10


def run_audit(
    source: Source, *, output: Path | None, faces: bool = False, as_json: bool = False
) -> int:
    """Audit pictures and print what was found; return 1 if a split leaks."""
    from moppet.data.audit import audit_manifest

    manifest = source.read()
    with watched() as progress:
        audit = audit_manifest(manifest, faces=faces, progress=progress)
    if output is not None:
        audit.manifest.write(output)
    if as_json:
        print(json.dumps(audit.to_dict(), indent=1))
    else:
        print_audit(Console(highlight=False), audit)
        if output is not None:
            print(f"manifest: {output}")
    return 1 if audit.leaks else 0


def print_audit(console: Console, audit: Audit) -> None:
    """Print an audit as tables and sentences, the worst last."""
    console.print(count_table("class", audit.counts("label")))
    if len(bands := audit.counts("age_band")) > 1:
        console.print(count_table("age band", bands))
    _print_pictures(console, audit)
    _print_copies(console, audit)
    _print_leaks(console, audit)


def _print_pictures(console: Console, audit: Audit) -> None:
    path = audit.manifest.column("path")
    for what, rows in (
        ("cannot be read", audit.unreadable),
        ("show no face that was found", audit.faceless),
    ):
        if rows is not None:
            some = ", ".join(str(path[r]) for r in rows[:_SHOWN])
            more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            text = f"pictures that {what}: {len(rows)} of {len(path)}"
            console.print(text + (f" ({some}{more})" if len(rows) else ""), soft_wrap=True)


def _print_copies(console: Console, audit: Audit) -> None:
    from moppet.data.audit import vote_entropy

    for what, groups in (("exact copies", audit.exact), ("near duplicates", audit.near)):
        rows = counted(sum(map(len, groups)), "picture")
        mirrored = f", {audit.mirrored} joined as mirror images" if groups is audit.near else ""
        console.print(f"{what}: {rows} in {counted(len(groups), 'group')}{mirrored}")
    apart = audit.disagreements
    exactly = sum(d.exact for d in apart)
    console.print(
        f"copies with different labels: {counted(len(apart), 'group')}, {exactly} of exact copies"
    )
    votes = vote_entropy(audit.manifest)
    if votes["n"]:
        console.print(
            f"votes: {counted(votes['n'], 'picture')}, {votes['mean_entropy_bits']:.2f} bits of "
            f"entropy on average, {votes['no_majority']:,} without a majority"
        )


def _print_leaks(console: Console, audit: Audit) -> None:
    if not audit.leaks:
        split = audit.manifest.table["split"].null_count < len(audit.manifest)
        console.print("no split leaks" if split else "the pictures are not split yet")
        return
    table = Table(title="LEAKS: these stand on two sides of a split", title_justify="left")
    for name in ("column", "what", "groups", "rows", "sides"):
        table.add_column(name)
    for (column, kind, sides), found in _sort_leaks(audit).items():
        rows = str(sum(map(len, found)))
        table.add_row(column, kind, str(len(found)), rows, " | ".join(sides))
    console.print(table)
    path = audit.manifest.column("path")
    for leak in audit.leaks[:_SHOWN]:
        side = audit.manifest.table[leak.column].to_pylist()
        rows = ", ".join(f"{path[r]} (row {r}, {side[r]})" for r in leak.rows[:4])
        console.print(f"{leak.kind}: {rows}", soft_wrap=True)
    console.print("Leave one side's rows out, or make a new split: moppet data split")


def _sort_leaks(audit: Audit) -> dict[tuple[str, str, tuple[str, ...]], list[Any]]:
    found: dict[tuple[str, str, tuple[str, ...]], list[Any]] = {}
    for leak in audit.leaks:
        side = audit.manifest.table[leak.column].to_pylist()
        sides = tuple(sorted({str(side[r]) for r in leak.rows if side[r] is not None}))
        found.setdefault((leak.column, leak.kind, sides), []).append(leak.rows)
    return found
