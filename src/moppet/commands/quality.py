"""`moppet quality`: how good synthetic faces are, and which copy a real one."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from moppet.commands.console import figure_cell, figure_table, watched, wide_console
from moppet.commands.dataset_source import Source
from moppet.commands.options import JsonOption, ShowFaces, complete_model, output_option

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest
    from moppet.evaluate.sample_quality import Quality
    from moppet.pages.quality import Sheet
    from moppet.pages.wording import Json
from moppet.files import result_folder, write_text
from moppet.values import UsageError

_LEAST_WIDTH = 120


def print_quality(found: Json, written: Sequence[Path]) -> None:
    """Print the figures as tables, and where the rest is."""
    console = wide_console(_LEAST_WIDTH)
    about, rows = found["about"], found["rows"]
    title = f"{about['name']} compared with {about['real_name']}"
    console.print(
        escape(f"{title}: {rows['synthetic']:,} synthetic faces, {rows['real']:,} real ones"),
        soft_wrap=True,
    )
    for note in found["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(_distances(found))
    console.print(_shares(found))
    alarms = len(found["memorized"])
    console.print(
        f"near copies of a real face: {alarms:,} of {rows['synthetic']:,}; {rows['kept']:,} kept",
        soft_wrap=True,
    )
    for path in written:
        console.print(escape(str(path)), soft_wrap=True)


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


SHOWN: Final = 14
MOST_PAIRS: Final = 28
UNKNOWN: Final = "unknown"
"""The generator of synthetic images that do not name one."""
_MANIFEST: Final = "manifest.parquet"


@dataclass(frozen=True)
class Job:
    """What `moppet quality` was asked for. See its help for the options.

    real: None for the real rows in the manifest of the synthetic ones.
    """

    synthetic: Path
    real: Path | None = None
    output: Path | None = None
    model: str = "default"
    classifier: str | None = None
    show_faces: bool = False
    as_json: bool = False
    draws: int | None = None

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["moppet", "quality", str(self.synthetic)]
        words += [] if self.real is None else [str(self.real)]
        words += [] if self.output is None else ["-o", str(self.output)]
        words += ["--model", self.model]
        words += [] if self.classifier is None else ["--classifier", self.classifier]
        return shlex.join([*words, *(["--show-faces"] if self.show_faces else [])])


def measure(job: Job) -> Path:
    """Write figures, page and the manifest without near copies; return their folder."""
    from moppet.datasets.provenance import real_rows
    from moppet.evaluate.sample_quality import DRAWS, measure_quality
    from moppet.pages.quality import build_page

    synthetic = _read(job.synthetic)
    real = synthetic if job.real is None else _read(job.real)
    if job.real is None and (real_rows(synthetic).all() or not real_rows(synthetic).any()):
        raise UsageError(
            f"{job.synthetic} does not contain the real images behind these synthetic ones: name "
            "them too, as in moppet quality synthetic/ my_faces/."
        )
    safe_name = re.sub(r"[^\w.-]+", "_", job.synthetic.resolve().stem).strip("_.")
    folder = job.output or Path(f"quality_{safe_name or 'synthetic'}")
    with result_folder(folder), watched() as show:
        quality = measure_quality(
            *(synthetic, real),
            model=job.model,
            classifier=job.classifier,
            progress=show,
            draws=job.draws or DRAWS,
        )
        found = quality.as_json()
        found["about"] |= {
            "name": job.synthetic.resolve().name,
            "path": str(job.synthetic),
            "real_name": (job.real or job.synthetic).resolve().name,
            "real_path": str(job.real or job.synthetic),
            "command": job.command,
            "created_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        sheet = _sheet(quality, synthetic, real) if job.show_faces else None
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
    if job.as_json:
        print(text, flush=True)
    else:
        print_quality(found, written)
    return folder


def _read(path: Path) -> Manifest:
    """Return the manifest that `moppet synthesize` wrote, else a dataset or plain images."""
    from moppet.commands.explain import read_images
    from moppet.datasets.manifest import read_manifest

    if path.is_dir() and (path / _MANIFEST).is_file():
        return read_manifest(path / _MANIFEST)
    return read_images(Source(path))


def _marked(synthetic: Manifest, quality: Quality) -> Manifest:
    """Return the synthetic manifest with every synthetic row marked as such."""
    from moppet.datasets.provenance import synthetic_columns

    if quality.rows["marked"]:
        return synthetic
    n = len(synthetic)
    return synthetic.replace(split=["train"] * n, **synthetic_columns(n, generator=UNKNOWN))


def _sheet(quality: Quality, synthetic: Manifest, real: Manifest) -> Sheet:
    """Return some synthetic faces of each class, the same every time, and the closest pairs."""
    from moppet.pages.face_images import face_uris
    from moppet.pages.quality import Sheet

    rng = np.random.default_rng(0)
    memory = [one["row"] for one in quality.memorized[:MOST_PAIRS]]
    twins = [one["real_row"] for one in quality.memorized[:MOST_PAIRS]]
    rows = _synthetic_rows(quality, synthetic)
    labels = synthetic.column("label")[rows]
    some: dict[str, list[int]] = {}
    classes = [name for name in synthetic.names if name in labels]
    for name in classes or ["no class"]:
        of_class = rows[labels == name] if classes else rows
        some[name] = sorted(int(i) for i in rng.permutation(of_class)[:SHOWN])
    wanted = sorted({*memory, *(row for part in some.values() for row in part)})
    return Sheet(some, face_uris(synthetic, wanted), face_uris(real, sorted(set(twins))))


def _synthetic_rows(quality: Quality, synthetic: Manifest) -> NDArray[np.int64]:
    if not quality.rows["marked"]:
        return np.arange(len(synthetic))
    return np.flatnonzero([x is not None for x in synthetic.column("generator")])


def quality(
    synthetic: Annotated[
        Path,
        typer.Argument(help="Synthetic images: a folder of `moppet synthesize`, or any other."),
    ],
    real: Annotated[
        Path | None,
        typer.Argument(help="Real images they come from; default: those in their manifest."),
    ] = None,
    output: Annotated[
        Path | None, output_option("Output folder; default: quality_ and the name of the folder.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Model whose embedding is used for distances.",
            autocompletion=complete_model,
        ),
    ] = "default",
    classifier: Annotated[
        str | None,
        typer.Option(
            "--classifier",
            help="Model that classifies the synthetic faces; default: the same model.",
            autocompletion=complete_model,
        ),
    ] = None,
    show_faces: ShowFaces = False,
    as_json: JsonOption = False,
) -> None:
    """Measure synthetic faces: realism, labels, copies."""
    measure(Job(synthetic, real, output, model, classifier, show_faces, as_json))
