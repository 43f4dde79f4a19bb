"""`moppet data split`: pictures → a manifest that says which of them train, choose and report."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from moppet.app.data.source import Source, count_table, watched
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.data.manifest import Manifest


@dataclass(frozen=True)
class SplitJob:
    """What `moppet data split` was asked for.

    test, choose: None where nothing was said: 0.2 and 0.1, or no hold-out at all if only folds
        were asked for.
    """

    source: Source
    output: Path
    test: float | None = None
    choose: float | None = None
    folds: int | None = None
    keep_report: bool = False
    seed: int = 0
    as_json: bool = False

    @property
    def holds_out(self) -> bool:
        """Whether a new split is made, not only folds."""
        asked = self.test is not None or self.choose is not None or self.keep_report
        return asked or self.folds is None


def run_split(job: SplitJob) -> None:
    """Split pictures, their copies found first, and write the manifest."""
    from moppet.data.audit import count_rows

    if job.keep_report and job.test is not None:
        raise UsageError("--keep-report keeps the rows that report: it takes no --test.")
    manifest = _with_copies(job.source.read())
    if job.holds_out:
        manifest = _hold_out(job, manifest)
    if job.folds is not None:
        manifest = _add_folds(job, manifest, job.folds)
    columns = ["split"] * job.holds_out + ["fold"] * (job.folds is not None)
    counts = {column: count_rows(manifest, "label", column) for column in columns}
    written = manifest.write(job.output)
    if job.as_json:
        print(json.dumps({"manifest": str(written), "class_counts": counts}, indent=1))
        return
    for column, found in counts.items():
        Console(highlight=False).print(count_table("class", found, column))
    print(f"manifest: {written}")


def _with_copies(manifest: Manifest) -> Manifest:
    """Return the manifest with its copies known; a manifest that was looked at is taken so."""
    from moppet.data.copies import find_copies

    if manifest.table["content_hash"].null_count < len(manifest):
        return manifest
    with watched() as progress:
        return find_copies(manifest, progress=progress).manifest


def _hold_out(job: SplitJob, manifest: Manifest) -> Manifest:
    from moppet.data.splits import split_manifest

    rows = _usable(manifest)
    made = split_manifest(
        manifest.select(rows),
        test=0.2 if job.test is None else job.test,
        choose=0.1 if job.choose is None else job.choose,
        keep_report=job.keep_report,
        rng=np.random.default_rng(job.seed),
    )
    if manifest.table["split"].null_count < len(manifest) and not job.keep_report:
        print(
            "moppet: the split that came with the pictures is replaced; --keep-report keeps its "
            "rows that report.",
            file=sys.stderr,
        )
    split = np.full(len(manifest), None, object)
    split[rows] = made.column("split")
    return manifest.replace(split=split)


def _add_folds(job: SplitJob, manifest: Manifest, folds: int) -> Manifest:
    """Number the folds of the rows that neither report nor belong to rows that do."""
    from moppet.data.splits import kfold

    groups = manifest.groups
    apart = np.isin(groups, groups[manifest.column("split") == "report"])
    rows = _usable(manifest)
    rows = rows[~apart[rows]]
    fold: list[Any] = [None] * len(manifest)
    numbers = kfold(manifest.select(rows), folds, np.random.default_rng([job.seed, folds]))
    for row, number in zip(rows, numbers, strict=True):
        fold[row] = int(number)
    return manifest.replace(fold=fold)


def _usable(manifest: Manifest) -> Any:
    """The rows whose picture can be read, as far as anybody looked."""
    if "readable" not in manifest.table.column_names:
        return np.arange(len(manifest))
    readable = np.array([r is not False for r in manifest.table["readable"].to_pylist()], bool)
    if not readable.all():
        print(
            f"moppet: pictures that cannot be read and get no split: {int((~readable).sum())}",
            file=sys.stderr,
        )
    return np.flatnonzero(readable)
