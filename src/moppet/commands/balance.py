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
from moppet.commands.options import (
    DatasetOptions,
    JsonOption,
    SeedOption,
    ShowFacesFile,
    choice,
    flag,
    model_option,
    output_option,
)
from moppet.plugins import BUILT_IN
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.balance import BalancedRows

_METHODS: Final = BUILT_IN["moppet.balancers"]


@dataclass(frozen=True, kw_only=True)
class BalanceOptions:
    """What `moppet balance` is asked for."""

    data: Annotated[Path, typer.Argument(help="A dataset with a split, or a manifest (.parquet).")]
    output: Annotated[Path, output_option("A new output folder.")]
    method: Annotated[str, choice(f"One of {', '.join(_METHODS)}.", *_METHODS)] = "smote_enn"
    space: Annotated[
        str, choice("Space of the mixtures: pixels or embedding.", "pixels", "embedding")
    ] = "pixels"
    clean_space: Annotated[
        str,
        choice("Space of the neighbors in ENN and Tomek.", "embedding", "pixels"),
    ] = "embedding"
    model: Annotated[
        str | None,
        model_option("Model of the embedding; default: adults, trained without children."),
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(help="class=count or class=2x, repeatable; or equal or 2x for all classes."),
    ] = None
    neighbors: Annotated[int, typer.Option(help="Number of neighbors of SMOTE.", min=1)] = 5
    enn: Annotated[
        str,
        choice(
            "ENN keeps a row if all, most or the majority of neighbors agree.",
            "all",
            "most",
            "majority",
        ),
    ] = "majority"
    dataset: DatasetOptions
    seed: SeedOption = 0
    keep_wiped: Annotated[
        bool, flag("--keep-wiped", "Keep a class whose images would all be removed.")
    ] = False
    all_train: Annotated[
        bool, flag("--all-train", "Use every image for training, without a split.")
    ] = False
    show_faces: ShowFacesFile = None
    as_json: JsonOption = False


def balance(options: BalanceOptions) -> None:
    """Balance the classes of the training images."""
    from moppet.balance import Neighbors, balance_manifest, make_space, read_targets
    from moppet.balance.balanced_manifest import CACHE, open_folder, write_balanced
    from moppet.balance.methods import cleans_by_neighbors, find_method
    from moppet.balance.spaces import HONEST_MODEL
    from moppet.config import check_settings
    from moppet.datasets.provenance import check_sources

    find_method(options.method)
    targets = read_targets(options.target or [])
    given = {"smote": options.neighbors, "enn_keeps": options.enn}
    neighbors = check_settings(Neighbors, given)
    _check_sheet(options)
    cleaned = options.clean_space if cleans_by_neighbors(options.method) else options.space
    if options.model is not None and "embedding" not in (options.space, cleaned):
        raise UsageError(
            "--model chooses the embedding, and none is used here: use it with --space embedding, "
            "or with a method that cleans by neighbors in the embedding."
        )
    model = options.model or HONEST_MODEL
    space = make_space(options.space, model=model)
    clean_space = space if cleaned == options.space else make_space(cleaned, model=model)
    manifest = options.dataset.read(options.data)
    check_sources(options.output, manifest)
    folder = open_folder(options.output, options.data)
    with _report_when_stopped(folder), watched() as progress:
        result = balance_manifest(
            manifest,
            method=options.method,
            space=space,
            rng=np.random.default_rng(options.seed),
            targets=targets,
            neighbors=neighbors,
            keep_wiped=options.keep_wiped,
            all_train=options.all_train,
            clean_space=clean_space,
            cache=folder / CACHE,
            progress=progress,
        )
        written = write_balanced(result, folder)
    _print_result(options, result, written)


def _print_result(options: BalanceOptions, result: BalancedRows, written: Path) -> None:
    """Print the class table and what was written, and draw the example images."""
    from moppet.balance import class_table
    from moppet.balance.balanced_manifest import summary
    from moppet.balance.sheet import draw_sheet

    if options.as_json:
        print(json.dumps({"manifest": str(written)} | summary(result), indent=1))
    else:
        print(class_table(result.balanced.counts))
        for note in result.balanced.notes:
            print(f"note: {note}")
        for warning in result.balanced.warnings:
            print(f"warning: {warning}")
        print(f"manifest: {written}")
    if options.show_faces is not None:
        draw_sheet(result, options.show_faces, np.random.default_rng(options.seed))
        if not options.as_json:
            print(f"example images: {options.show_faces}")


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


def _check_sheet(options: BalanceOptions) -> None:
    from moppet.balance.sheet import SUFFIXES

    if options.show_faces is None:
        return
    if options.show_faces.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--show-faces takes a file of {', '.join(SUFFIXES)}, got {options.show_faces.name!r}."
        )
    if options.show_faces.resolve().is_relative_to(options.output.resolve()):
        raise UsageError(
            f"--show-faces points into {options.output}, the output folder: choose another place."
        )
