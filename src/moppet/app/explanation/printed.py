"""What `moppet explain` says on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = Mapping[str, Any]


def print_explanation(result: Json, folder: Path) -> None:
    """Print the shares of all faces, each class and each age band, and what was written."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, 110))
    data, parts, how = result["data"], result["parts"], result["method"]
    explained = f"{data['explained']:,} of {data['pictures']:,} pictures explained"
    grid = f" ({how['grid'][0]} x {how['grid'][1]} places)" if "grid" in how else ""
    console.print(
        escape(
            f"{result['model']['name']} on {data['name']}: {explained} by {how['name']}{grid}, "
            f"a face found in {data['faces_found']:,}"
        ),
        soft_wrap=True,
    )
    areas = result["template"]["areas"]
    table = Table(box=None, padding=(0, 2, 0, 0), title="share of saliency", title_justify="left")
    for title in ("", "n", *areas):
        table.add_column(title, justify="right" if title else "left")
    table.add_row("if spread evenly", "", *(f"{area:.2f}" for area in areas.values()))
    for one in parts:
        if one["class"] and one["age_band"]:
            continue  # they are many, and on the page
        name = one["class"] or one["age_band"] or "all"
        cells = (_cell(share) for share in one["shares"].values())
        table.add_row(escape(name), f"{one['n'] - one['undefined']:,}", *cells)
    console.print(table)
    console.print(
        escape(f"{folder / 'mean'}: mean maps ({len(parts)}), which show no face"), soft_wrap=True
    )
    if result["pictures"] is not None:
        console.print(
            escape(
                f"{folder / 'pictures'}: {len(result['pictures']):,} overlays, which show the faces"
            ),
            soft_wrap=True,
        )
    for name in ("explanation.json", "explanation.html"):
        console.print(escape(str(folder / name)), soft_wrap=True)


def _cell(share: Json) -> str:
    if share["value"] is None:
        return "–"
    if share["low"] is None:
        return f"{share['value']:.2f}"
    return f"{share['value']:.2f} [dim]{share['low']:.2f}-{share['high']:.2f}[/]"
