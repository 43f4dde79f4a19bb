"""`moppet balance`: the training rows of a data set, balanced, as a manifest and made images."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from moppet.commands.console import watched
from moppet.commands.dataset_source import Source
from moppet.commands.options import ShowFacesFile, read_pairs
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.balance import BalancedRows, Space


METHODS: Final = (
    *("random_over", "random_under", "smote", "borderline_smote", "adasyn"),
    *("enn", "tomek", "smote_enn", "smote_tomek"),
)
"""The keys of BALANCERS, here so that the command line starts without it."""


@dataclass(frozen=True)
class BalanceJob:
    """What `moppet balance` was asked for.

    targets: as the command line gives them. sheet: an image file that shows faces; None for none.
    """

    source: Source
    output: Path
    method: str
    space: str = "pixels"
    model: str | None = None
    targets: tuple[str, ...] = ()
    neighbours: int = 5
    enn_keeps: str = "all"
    seed: int = 0
    keep_wiped: bool = False
    all_train: bool = False
    sheet: Path | None = None
    as_json: bool = False


def run_balance(job: BalanceJob) -> BalancedRows:
    """Balance a data set's training rows, write what came of it, and print the class table."""
    from moppet.balance import Neighbors, balance_manifest, class_table, read_targets
    from moppet.balance.balanced_manifest import CACHE, open_folder, summary, write_balanced
    from moppet.balance.methods import find_method
    from moppet.datasets.provenance import check_sources

    find_method(job.method)
    targets = read_targets(list(job.targets))
    neighbours = Neighbors(smote=job.neighbours, enn_keeps=job.enn_keeps)
    _check_sheet(job)
    space = _space(job)
    manifest = job.source.read()
    check_sources(job.output, manifest)
    folder = open_folder(job.output, job.source.path)
    with _said_when_stopped(folder), watched() as progress:
        result = balance_manifest(
            manifest,
            method=job.method,
            space=space,
            rng=np.random.default_rng(job.seed),
            targets=targets,
            neighbours=neighbours,
            keep_wiped=job.keep_wiped,
            all_train=job.all_train,
            cache=folder / CACHE,
            progress=progress,
        )
        written = write_balanced(result, folder)
    if job.as_json:
        print(json.dumps({"manifest": str(written)} | summary(result), indent=1))
    else:
        print(class_table(result.balanced.counts))
        for note in result.balanced.notes:
            print(f"note: {note}")
        print(f"manifest: {written}")
    if job.sheet is not None:
        from moppet.balance.sheet import draw_sheet

        draw_sheet(result, job.sheet, np.random.default_rng(job.seed))
        if not job.as_json:
            print(f"sheet: {job.sheet}")
    return result


@contextlib.contextmanager
def _said_when_stopped(folder: Path) -> Iterator[None]:
    """Say what a stop leaves behind; after an error leave no empty folder."""
    from moppet.balance.balanced_manifest import MANIFEST

    try:
        yield
    except MoppetError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # which it only does to an empty one
        raise
    except KeyboardInterrupt:
        earlier = (folder / MANIFEST).exists()
        print(
            "moppet: stopped before all was written: "
            f"{folder} holds {'what an earlier run wrote' if earlier else 'no manifest'}. "
            "Run it again; faces that were found are not searched again.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


def _space(job: BalanceJob) -> Space:
    from moppet.balance import make_space
    from moppet.balance.spaces import HONEST_MODEL

    if job.model is not None and job.space != "embedding":
        raise UsageError("--model is for the embedding: it goes with --space embedding.")
    return make_space(job.space, model=job.model or HONEST_MODEL)


def _check_sheet(job: BalanceJob) -> None:
    from moppet.balance.sheet import SUFFIXES

    if job.sheet is None:
        return
    if job.sheet.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--show-faces takes a file of {', '.join(SUFFIXES)}, got {job.sheet.name!r}."
        )
    if job.sheet.resolve().is_relative_to(job.output.resolve()):
        raise UsageError(
            f"--show-faces lies in {job.output}, which is for the set: name another place."
        )


def balance(
    path: Annotated[
        Path, typer.Argument(help="A data set with a split, or a manifest (.parquet).")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder for what is written.")
    ],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "smote_enn",
    space: Annotated[str, typer.Option(help="Where neighbors are: pixels or embedding.")] = (
        "pixels"
    ),
    model: Annotated[
        str | None,
        typer.Option(help="The embedding's model; default: adults, which saw no child's label."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="class=count or class=2x, again for others; or for all: equal, 2x."),
    ] = None,
    neighbors: Annotated[int, typer.Option(help="Neighbors that SMOTE mixes with.", min=1)] = 5,
    enn: Annotated[
        str, typer.Option(help="ENN keeps a row if 'all' or the 'majority' near it are like it.")
    ] = "all",
    kind: Annotated[str | None, typer.Option(help="Kind of data set; default: by layout.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="name=value for the set's reader; may come several times."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)] = 0,
    keep_wiped: Annotated[
        bool,
        typer.Option("--keep-wiped", help="Keep the images of a class that would be left empty."),
    ] = False,
    all_train: Annotated[
        bool, typer.Option("--all-train", help="No split: every image is there to train on.")
    ] = False,
    show_faces: ShowFacesFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Balance the classes of the training images; other rows stay."""
    run_balance(
        BalanceJob(
            *(Source(path, kind, read_pairs(option, "--option")), output, method, space, model),
            targets=tuple(target or ()),
            neighbours=neighbors,
            enn_keeps=enn,
            seed=seed,
            keep_wiped=keep_wiped,
            all_train=all_train,
            sheet=show_faces,
            as_json=as_json,
        )
    )
