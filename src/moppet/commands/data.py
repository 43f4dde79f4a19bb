"""`moppet data audit | split | agreement | corrected`."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from moppet.commands.console import counted, watched
from moppet.commands.dataset_source import Source, count_table
from moppet.commands.options import read_pairs
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.audit import Audit
    from moppet.datasets.manifest import Manifest
    from moppet.datasets.rater_agreement import Agreement, Ratings
    from moppet.metrics import Estimate


_SHOWN: Final = 10


@dataclass(frozen=True)
class AgreementJob:
    """What `moppet data agreement` was asked for.

    root: the folder that the images' paths start from; None takes that of the first file.
    """

    files: tuple[Path, ...]
    output: Path | None = None
    adjudication: Path | None = None
    disagreements: Path | None = None
    root: Path | None = None
    seed: int = 0
    as_json: bool = False


def run_agreement(job: AgreementJob) -> None:
    """Measure raters' agreement, print it, and write what was asked for."""
    from moppet.datasets.rater_agreement import (
        as_dict,
        measure_agreement,
        rated_manifest,
        read_adjudication,
        read_ratings,
        write_disagreements,
    )

    ratings = read_ratings(job.files)
    decided = {} if job.adjudication is None else read_adjudication(job.adjudication, ratings)
    agreement = measure_agreement(ratings, np.random.default_rng(job.seed))
    notes = []
    if job.disagreements is not None:
        count = write_disagreements(job.disagreements, ratings, decided)
        notes.append(f"to decide: {job.disagreements} ({count} images)")
    if job.output is not None:
        root = job.files[0].parent if job.root is None else job.root
        manifest = rated_manifest(ratings, decided, root=root)
        notes.append(f"manifest: {manifest.write(job.output)}")
    if job.as_json:
        print(json.dumps(as_dict(ratings, agreement, decided), indent=1))
        return
    print_agreement(Console(highlight=False), ratings, agreement, decided)
    for note in notes:
        print(note)


def print_agreement(
    console: Console, ratings: Ratings, agreement: Agreement, decided: dict[str, str]
) -> None:
    """Print kappas with their intervals, and what the raters differ on."""
    table = Table(title="agreement, with 95 % intervals", title_justify="left")
    for name in ("raters", "images", "equal", "Cohen's kappa"):
        table.add_column(name)
    for pair, kappa in agreement.cohen.items():
        equal = _cell(agreement.equal[pair])
        table.add_row(" – ".join(pair), str(kappa.n), equal, _cell(kappa))
    console.print(table)
    fleiss = agreement.fleiss
    console.print(
        f"Fleiss' kappa of all {len(ratings.raters)}, over the {fleiss.n} images that all "
        f"rated: {_cell(fleiss)}",
        soft_wrap=True,
    )
    known = {s for s in ratings.subjects if s is not None}
    drawn = f"{len(known)} subjects" if known else "images"
    console.print(f"the intervals come from 1,000 draws of {drawn}")
    disputed = ratings.disputed
    open_ = [row for row in disputed if ratings.paths[row] not in decided]
    console.print(
        f"{len(disputed)} of {len(ratings.paths)} images are disputed, {len(open_)} of them "
        f"undecided; {len(decided)} are decided by adjudication",
        soft_wrap=True,
    )
    for pair, n in list(agreement.confused.items())[:5]:
        console.print(f"  {' or '.join(pair)}: {n}")
    for row in open_[:_SHOWN]:
        said = ", ".join(
            f"{rater} {name or '–'}"
            for rater, name in zip(ratings.raters, ratings.called(row), strict=True)
        )
        console.print(f"{ratings.paths[row]}: {said}", soft_wrap=True)
    if len(open_) > _SHOWN:
        console.print(f"and {len(open_) - _SHOWN} more: --disagreements FILE.csv lists them all")


def _cell(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    interval = f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{'' if math.isnan(estimate.low) else interval}"


def run_audit(
    source: Source, *, output: Path | None, faces: bool = False, as_json: bool = False
) -> int:
    """Audit images and print what was found; return 1 if a split leaks."""
    from moppet.datasets.audit import audit_manifest

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
    _print_images(console, audit)
    _print_copies(console, audit)
    _print_leaks(console, audit)


def _print_images(console: Console, audit: Audit) -> None:
    path = audit.manifest.column("path")
    for what, rows in (
        ("cannot be read", audit.unreadable),
        ("show no face that was found", audit.faceless),
    ):
        if rows is not None:
            some = ", ".join(str(path[r]) for r in rows[:_SHOWN])
            more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            text = f"images that {what}: {len(rows)} of {len(path)}"
            console.print(text + (f" ({some}{more})" if len(rows) else ""), soft_wrap=True)


def _print_copies(console: Console, audit: Audit) -> None:
    from moppet.datasets.audit import vote_entropy

    for what, groups in (("exact copies", audit.exact), ("near duplicates", audit.near)):
        rows = counted(sum(map(len, groups)), "image")
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
        console.print("no split leaks" if split else "the images are not split yet")
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


@dataclass(frozen=True)
class SplitJob:
    """What `moppet data split` was asked for.

    test, val: None takes 0.2 and 0.1, or no hold-out at all if only folds were asked for.
    """

    source: Source
    output: Path
    test: float | None = None
    val: float | None = None
    folds: int | None = None
    keep_test: bool = False
    seed: int = 0
    as_json: bool = False

    @property
    def holds_out(self) -> bool:
        """Whether a new split is made, not only folds."""
        asked = self.test is not None or self.val is not None or self.keep_test
        return asked or self.folds is None


def run_split(job: SplitJob) -> None:
    """Split images, their copies found first, and write the manifest."""
    from moppet.datasets.audit import count_rows

    if job.keep_test and job.test is not None:
        raise UsageError("--keep-test keeps the test rows of the data set: it takes no --test.")
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
    from moppet.datasets.duplicates import find_copies

    if manifest.table["content_hash"].null_count < len(manifest):
        return manifest
    with watched() as progress:
        return find_copies(manifest, progress=progress).manifest


def _hold_out(job: SplitJob, manifest: Manifest) -> Manifest:
    from moppet.datasets.splits import split_manifest

    rows = _usable(manifest)
    made = split_manifest(
        manifest.select(rows),
        test=0.2 if job.test is None else job.test,
        val=0.1 if job.val is None else job.val,
        keep_test=job.keep_test,
        rng=np.random.default_rng(job.seed),
    )
    if manifest.table["split"].null_count < len(manifest) and not job.keep_test:
        print(
            "moppet: the split that came with the images is replaced; --keep-test keeps its "
            "test rows.",
            file=sys.stderr,
        )
    split = np.full(len(manifest), None, object)
    split[rows] = made.column("split")
    return manifest.replace(split=split)


def _add_folds(job: SplitJob, manifest: Manifest, folds: int) -> Manifest:
    """Number the folds of the rows that share no group with a test row."""
    from moppet.datasets.splits import kfold

    groups = manifest.groups
    apart = np.isin(groups, groups[manifest.column("split") == "test"])
    rows = _usable(manifest)
    rows = rows[~apart[rows]]
    fold: list[Any] = [None] * len(manifest)
    numbers = kfold(manifest.select(rows), folds, np.random.default_rng([job.seed, folds]))
    for row, number in zip(rows, numbers, strict=True):
        fold[row] = int(number)
    return manifest.replace(fold=fold)


def _usable(manifest: Manifest) -> Any:
    """The rows whose image can be read, as far as anybody looked."""
    if "readable" not in manifest.table.column_names:
        return np.arange(len(manifest))
    readable = np.array([r is not False for r in manifest.table["readable"].to_pylist()], bool)
    if not readable.all():
        print(
            f"moppet: images that cannot be read and get no split: {int((~readable).sum())}",
            file=sys.stderr,
        )
    return np.flatnonzero(readable)


data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Know images before they are used: audit them, split them, compare their raters.",
)

_Where = Annotated[
    Path, typer.Argument(help="A data set, folders named by class, a CSV, or a manifest.")
]
_Kind = Annotated[str | None, typer.Option(help="Kind of data set; default: by its layout.")]
_Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="name=value for the set's reader; may come several times."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]


@data.command(epilog="Example: moppet data audit my_faces/ -o my_faces.parquet")
def audit(
    path: _Where,
    kind: _Kind = None,
    option: _Options = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the manifest, copies marked (.parquet)."),
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Look for a face in every image, too (slow).")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Find copies, leaks, damaged images and doubtful labels; exit 1 if a split leaks."""
    pass

    source = Source(path, kind, read_pairs(option, "--option"))
    raise typer.Exit(run_audit(source, output=output, faces=faces, as_json=as_json))


@data.command(epilog="Example: moppet data split my_faces/ -o my_faces.parquet --folds 5")
def split(
    path: _Where,
    output: Annotated[Path, typer.Option("-o", "--output", help="The manifest (.parquet).")],
    kind: _Kind = None,
    option: _Options = None,
    test: Annotated[
        float | None, typer.Option(help="Share of images for the test set (default: 0.2).")
    ] = None,
    val: Annotated[
        float | None,
        typer.Option(help="Share for the validation set (default: 0.1; 0: none)."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Number this many folds of the other rows.")
    ] = None,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Keep the test rows that the data set has.")
    ] = False,
    choose: Annotated[float | None, typer.Option("--choose", hidden=True)] = None,
    keep_report: Annotated[bool, typer.Option("--keep-report", hidden=True)] = False,
    seed: _Seed = 0,
    as_json: _Json = False,
) -> None:
    """Split images by class and age band; a subject's and an image's copies stay together."""
    pass

    source = Source(path, kind, read_pairs(option, "--option"))
    val = choose if val is None else val
    keep_test = keep_test or keep_report
    run_split(SplitJob(source, output, test, val, folds, keep_test, seed, as_json))


@data.command(epilog="Example: moppet data agreement ann.csv ben.csv --disagreements decide.csv")
def agreement(
    files: Annotated[list[Path], typer.Argument(help="A CSV for each rater: path,label.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the manifest (.parquet).")
    ] = None,
    adjudication: Annotated[
        Path | None, typer.Option(help="A CSV (path,label) that decides disputed images.")
    ] = None,
    disagreements: Annotated[
        Path | None, typer.Option(help="Write the undecided images as a CSV to fill in.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Where the images' paths start; default: the first file's folder."),
    ] = None,
    seed: _Seed = 0,
    as_json: _Json = False,
) -> None:
    """Say how far raters agree (Cohen's and Fleiss' kappa), and make one manifest of them all."""
    pass

    run_agreement(
        AgreementJob(tuple(files), output, adjudication, disagreements, root, seed, as_json)
    )


@data.command(epilog="Example: moppet data corrected timeline.parquet visit1.mp4 -o corrected")
def corrected(
    timeline: Annotated[Path, typer.Argument(help="A timeline that was set right in the page.")],
    recording: Annotated[Path, typer.Argument(help="The recording that it is of.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the faces and a CSV for each coder.")
    ],
    every: Annotated[
        float, typer.Option(help="Seconds between two faces of one stretch.", min=0.04)
    ] = 1.0,
) -> None:
    """Cut out the faces that coders set right, with their labels, to train on or to compare."""
    from moppet.datasets.corrected_faces import labeled_faces, write_labeled
    from moppet.media import file_sha256
    from moppet.timeline.annotations import read_layered

    layered = read_layered(timeline)
    wanted = layered.timeline.metadata.get("source_sha256")
    if not recording.is_file():
        raise UsageError(f"The recording is a file, but {recording} is not there.")
    if wanted and file_sha256(recording) != wanted:
        raise UsageError(f"{timeline} is of another recording than {recording}.")
    files, count = write_labeled(labeled_faces(layered, every), recording, output)
    typer.echo(f"{count} faces in {output}")
    for file in files:
        typer.echo(str(file))
    if len(files) == 1:
        typer.echo(f"to train on them: moppet train {files[0]} -o my_model")
    else:
        typer.echo(f"to compare the coders: moppet data agreement {' '.join(map(str, files))}")
