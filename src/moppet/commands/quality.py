"""`moppet quality`: how good synthetic faces are, and which copy a real one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from moppet.commands.console import figure_cell, figure_table, say, watched, wide_console
from moppet.commands.options import (
    DatasetOptions,
    JsonOption,
    ShowFaces,
    file_name,
    model_option,
    output_option,
    run_facts,
)
from moppet.files import result_folder, write_text
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest
    from moppet.evaluate.sample_quality import Quality
    from moppet.pages.quality import Sheet
    from moppet.pages.wording import Json

_LEAST_WIDTH: Final = 120
_SHOWN: Final = 14
_MOST_PAIRS: Final = 28
_UNKNOWN: Final = "unknown"
"""The generator of synthetic images that do not name one."""
_MANIFEST: Final = "manifest.parquet"


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """What `moppet quality` is asked for. real: None for the real rows of the same manifest."""

    synthetic: Annotated[
        Path,
        typer.Argument(help="Synthetic images: a folder of `moppet synthesize`, or any other."),
    ]
    real: Annotated[
        Path | None,
        typer.Argument(help="The real images behind them; default: those in their manifest."),
    ] = None
    output: Annotated[
        Path | None, output_option("Output folder; default: quality_ and the name of the folder.")
    ] = None
    model: Annotated[str, model_option("Model whose embedding is used for distances.")] = "default"
    classifier: Annotated[
        str | None,
        model_option("Model that classifies the synthetic faces; default: the same model."),
    ] = None
    show_faces: ShowFaces = False
    as_json: JsonOption = False


def quality(options: QualityOptions) -> None:
    """Measure synthetic faces: realism, labels, copies."""
    from moppet.datasets.provenance import real_rows
    from moppet.pages.quality import build_page

    synthetic = _read(options.synthetic)
    real = synthetic if options.real is None else _read(options.real)
    if options.real is None and (real_rows(synthetic).all() or not real_rows(synthetic).any()):
        raise UsageError(
            f"{options.synthetic} does not contain the real images behind these synthetic ones: "
            "name them too, as in moppet quality synthetic/ my_faces/."
        )
    safe_name = file_name(options.synthetic.resolve().stem).strip("_.")
    folder = options.output or Path(f"quality_{safe_name or 'synthetic'}")
    with result_folder(folder):
        quality, found = _measure(options, synthetic, real)
        sheet = _sheet(quality, synthetic, real) if options.show_faces else None
        text = json.dumps(found, ensure_ascii=False, allow_nan=False)
        written = [
            write_text(folder / "quality.json", text + "\n"),
            write_text(folder / "quality.html", build_page(found, sheet)),
        ]
        kept = folder / "kept.parquet"
        if quality.keep.any():
            written.append(_marked(synthetic, quality).select(quality.keep).write(kept))
        else:
            kept.unlink(missing_ok=True)  # of an earlier run
    if options.as_json:
        print(text, flush=True)
    else:
        print_quality(found, written)


def _measure(
    options: QualityOptions, synthetic: Manifest, real: Manifest
) -> tuple[Quality, dict[str, Any]]:
    from moppet.evaluate.sample_quality import measure_quality

    with watched() as show:
        quality = measure_quality(
            synthetic, real, model=options.model, classifier=options.classifier, progress=show
        )
    found = quality.as_json()
    of_real = options.real or options.synthetic
    found["about"] |= {
        "name": options.synthetic.resolve().name,
        "path": str(options.synthetic),
        "real_name": of_real.resolve().name,
        "real_path": str(of_real),
        **run_facts("quality", options),
    }
    return quality, found


def _read(path: Path) -> Manifest:
    """Return the manifest that `moppet synthesize` wrote, else a dataset or plain images."""
    from moppet.commands.explain import read_images
    from moppet.datasets.manifest import read_manifest

    if path.is_dir() and (path / _MANIFEST).is_file():
        return read_manifest(path / _MANIFEST)
    return read_images(path, DatasetOptions())


def _marked(synthetic: Manifest, quality: Quality) -> Manifest:
    """Return the synthetic manifest with every synthetic row marked as such."""
    from moppet.datasets.provenance import synthetic_columns

    if quality.rows["marked"]:
        return synthetic
    n = len(synthetic)
    return synthetic.replace(split=["train"] * n, **synthetic_columns(n, generator=_UNKNOWN))


def _sheet(quality: Quality, synthetic: Manifest, real: Manifest) -> Sheet:
    """Return some synthetic faces of each class, the same every time, and the closest pairs."""
    from moppet.pages.face_images import face_uris
    from moppet.pages.quality import Sheet

    rng = np.random.default_rng(0)
    memory = [one["row"] for one in quality.memorized[:_MOST_PAIRS]]
    twins = [one["real_row"] for one in quality.memorized[:_MOST_PAIRS]]
    rows = _synthetic_rows(quality, synthetic)
    labels = synthetic.column("label")[rows]
    some: dict[str, list[int]] = {}
    classes = [name for name in synthetic.names if name in labels]
    for name in classes or ["no class"]:
        of_class = rows[labels == name] if classes else rows
        some[name] = sorted(int(i) for i in rng.permutation(of_class)[:_SHOWN])
    wanted = sorted({*memory, *(row for part in some.values() for row in part)})
    return Sheet(some, face_uris(synthetic, wanted), face_uris(real, sorted(set(twins))))


def _synthetic_rows(quality: Quality, synthetic: Manifest) -> NDArray[np.int64]:
    if not quality.rows["marked"]:
        return np.arange(len(synthetic))
    return np.flatnonzero([x is not None for x in synthetic.column("generator")])


def print_quality(found: Json, written: Sequence[Path]) -> None:
    """Print the figures as tables, and where the rest is."""
    console = wide_console(_LEAST_WIDTH)
    about, rows = found["about"], found["rows"]
    title = f"{about['name']} compared with {about['real_name']}"
    say(console, f"{title}: {rows['synthetic']:,} synthetic faces, {rows['real']:,} real ones")
    for note in found["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(_distances(found))
    console.print(_shares(found))
    alarms = len(found["memorized"])
    say(
        console,
        f"near copies of a real face: {alarms:,} of {rows['synthetic']:,}; {rows['kept']:,} kept",
    )
    for path in written:
        say(console, str(path))


def _distances(found: Json) -> Table:
    from moppet.pages.quality import FIGURES
    from moppet.pages.wording import number

    title = "synthetic against real (FID and KID on moppet's embedding)"
    table = figure_table(title, list(FIGURES.values()))
    parts = {"all": found["all"], **found["of_class"]}
    for name, part in parts.items():
        if part is None:
            table.add_row(escape(name), *["–"] * len(FIGURES))
            continue
        shown = [f for f in FIGURES if f != "frechet_distance" or name == "all"]
        cells = (figure_cell(part["figures"][f]) if f in shown else "" for f in FIGURES)
        table.add_row(escape(name), *cells)
        among = (
            f"[dim]{number(part['among_real'][f]['value'])}[/]" if f in shown else ""
            for f in FIGURES
        )
        table.add_row("[dim]  real against real[/]", *among)
    return table


def _shares(found: Json) -> Table:
    table = figure_table("shares", ["n", "face found", "real", "label confirmed", "real"])
    mine, real = found["agreement"], found["real_agreement"]
    for name in ("all", *found["classes"]):
        read = [x["overall"] if name == "all" else x["of_class"][name] for x in (mine, real)]
        seen = [
            found[key]["all"] if name == "all" else found[key]["of_class"][name]
            for key in ("detected", "real_detected")
        ]
        cells = (*seen, *read)
        n = seen[0]["n"]
        table.add_row(escape(name), f"{n:,}", *(figure_cell(one) for one in cells))
    return table
