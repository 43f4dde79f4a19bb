"""`moppet balance`: a dataset with balanced training rows, as a manifest and images."""

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
from moppet.commands.options import (
    JsonOption,
    KindOption,
    ReaderOption,
    SeedOption,
    ShowFacesFile,
    SubjectOption,
    complete_model,
    one_of,
    output_option,
    read_pairs,
)
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
    """Balance a dataset's training rows, write the result and print the class table."""
    from moppet.balance import Neighbors, balance_manifest, class_table, read_targets
    from moppet.balance.balanced_manifest import CACHE, open_folder, summary, write_balanced
    from moppet.balance.methods import find_method
    from moppet.config import check_settings
    from moppet.datasets.provenance import check_sources

    find_method(job.method)
    targets = read_targets(list(job.targets))
    given = {"smote": job.neighbours, "enn_keeps": job.enn_keeps}
    neighbours = check_settings(Neighbors, given)
    _check_sheet(job)
    space = _space(job)
    manifest = job.source.read()
    check_sources(job.output, manifest)
    folder = open_folder(job.output, job.source.path)
    with _report_when_stopped(folder), watched() as progress:
        result = balance_manifest(
            manifest,
            method=job.method,
            space=space,
            rng=np.random.default_rng(job.seed),
            targets=targets,
            neighbors=neighbours,
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
            print(f"example images: {job.sheet}")
    return result


@contextlib.contextmanager
def _report_when_stopped(folder: Path) -> Iterator[None]:
    """Print what an interruption leaves behind; after an error leave no empty folder."""
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
            "moppet: stopped before everything was written: "
            f"{folder} holds {'the result of an earlier run' if earlier else 'no manifest'}. "
            "Rerun the same command; faces already found are reused.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


def _space(job: BalanceJob) -> Space:
    from moppet.balance import make_space
    from moppet.balance.spaces import HONEST_MODEL

    if job.model is not None and job.space != "embedding":
        raise UsageError("--model chooses the embedding: use it with --space embedding.")
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
            f"--show-faces points into {job.output}, the output folder: choose another place."
        )


def balance(
    data: Annotated[Path, typer.Argument(help="A dataset with a split, or a manifest (.parquet).")],
    output: Annotated[Path, output_option("A new output folder.")],
    method: Annotated[
        str,
        typer.Option(
            "--method", help=f"One of {', '.join(METHODS)}.", autocompletion=one_of(*METHODS)
        ),
    ] = "smote_enn",
    space: Annotated[
        str,
        typer.Option(
            "--space",
            help="Space of the nearest neighbors: pixels or embedding.",
            autocompletion=one_of("pixels", "embedding"),
        ),
    ] = "pixels",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model of the embedding; default: adults, trained without children.",
            autocompletion=complete_model,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", help="class=count or class=2x, repeatable; or equal or 2x for all classes."
        ),
    ] = None,
    neighbors: Annotated[
        int, typer.Option("--neighbors", help="Number of neighbors of SMOTE.", min=1)
    ] = 5,
    enn: Annotated[
        str,
        typer.Option(
            "--enn",
            help="ENN keeps a row if all or the majority of its neighbors have its class.",
            autocompletion=one_of("all", "majority"),
        ),
    ] = "all",
    kind: KindOption = None,
    option: ReaderOption = None,
    subject: SubjectOption = None,
    seed: SeedOption = 0,
    keep_wiped: Annotated[
        bool,
        typer.Option("--keep-wiped", help="Keep a class whose images would all be removed."),
    ] = False,
    all_train: Annotated[
        bool, typer.Option("--all-train", help="Use every image for training, without a split.")
    ] = False,
    show_faces: ShowFacesFile = None,
    as_json: JsonOption = False,
) -> None:
    """Balance the classes of the training images."""
    run_balance(
        BalanceJob(
            Source(data, kind, read_pairs(option, "--option"), subject),
            *(output, method, space, model),
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
