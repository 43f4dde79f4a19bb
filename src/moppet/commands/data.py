"""`moppet data audit | split | agreement | corrected`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from moppet.commands.console import counted, estimate_text, say, watched
from moppet.commands.options import (
    DataArgument,
    DatasetOptions,
    JsonOption,
    SeedOption,
    Verbs,
    add_command,
    count_table,
    flag,
    output_option,
)
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.audit import Audit
    from moppet.datasets.manifest import Manifest
    from moppet.datasets.rater_agreement import Agreement, Ratings

_SHOWN: Final = 10

data = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Inspect and split datasets, and compare raters.",
)


# ----------------------------------------------------------------------------------- the audit


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What `moppet data audit` is asked for."""

    data: DataArgument
    dataset: DatasetOptions
    output: Annotated[
        Path | None, output_option("Write the manifest with duplicates marked (.parquet).")
    ] = None
    faces: Annotated[bool, flag("--faces", "Also look for a face in every image; slower.")] = False
    as_json: JsonOption = False


def audit(options: AuditOptions) -> None:
    """Find duplicates, leaks, damaged images, doubtful labels.

    The exit code is 1 if a split leaks: if duplicates or one person are in two of its parts.
    """
    from moppet.datasets.audit import audit_manifest

    manifest = options.dataset.read(options.data)
    with watched() as progress:
        found = audit_manifest(manifest, faces=options.faces, progress=progress)
    if options.output is not None:
        found.manifest.write(options.output)
    if options.as_json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print_audit(Console(highlight=False), found)
        if options.output is not None:
            print(f"manifest: {options.output}")
    raise typer.Exit(1 if found.leaks else 0)


def print_audit(console: Console, audit: Audit) -> None:
    """Print an audit as tables and sentences, the most serious last."""
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
        ("have no detected face", audit.faceless),
    ):
        if rows is not None:
            some = ", ".join(str(path[r]) for r in rows[:_SHOWN])
            more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            text = f"images that {what}: {len(rows)} of {len(path)}"
            say(console, text + (f" ({some}{more})" if len(rows) else ""))


def _print_copies(console: Console, audit: Audit) -> None:
    from moppet.datasets.audit import vote_entropy

    for what, groups in (("exact duplicates", audit.exact), ("near duplicates", audit.near)):
        rows = counted(sum(map(len, groups)), "image")
        mirrored = f", {audit.mirrored} of them mirrored" if groups is audit.near else ""
        console.print(f"{what}: {rows} in {counted(len(groups), 'group')}{mirrored}")
    apart = audit.disagreements
    exactly = sum(d.exact for d in apart)
    console.print(
        f"duplicates with different labels: {counted(len(apart), 'group')}, {exactly} exact"
    )
    votes = vote_entropy(audit.manifest)
    if votes["n"]:
        console.print(
            f"votes: {counted(votes['n'], 'image')}, mean entropy "
            f"{votes['mean_entropy_bits']:.2f} bits, {votes['no_majority']:,} without a majority"
        )


def _print_leaks(console: Console, audit: Audit) -> None:
    if not audit.leaks:
        split = audit.manifest.table["split"].null_count < len(audit.manifest)
        console.print("the split does not leak" if split else "the images have no split yet")
        return
    table = Table(title="LEAKS: in two parts of a split", title_justify="left")
    for name in ("column", "what", "groups", "rows", "parts"):
        table.add_column(name)
    for (column, kind, sides), found in _sort_leaks(audit).items():
        rows = str(sum(map(len, found)))
        table.add_row(column, kind, str(len(found)), rows, " | ".join(sides))
    console.print(table)
    path = audit.manifest.column("path")
    for leak in audit.leaks[:_SHOWN]:
        side = audit.manifest.table[leak.column].to_pylist()
        rows = ", ".join(f"{path[r]} (row {r}, {side[r]})" for r in leak.rows[:4])
        say(console, f"{leak.kind}: {rows}")
    console.print("Remove the rows of one part, or make a new split: moppet data split")


def _sort_leaks(audit: Audit) -> dict[tuple[str, str, tuple[str, ...]], list[Any]]:
    found: dict[tuple[str, str, tuple[str, ...]], list[Any]] = {}
    for leak in audit.leaks:
        side = audit.manifest.table[leak.column].to_pylist()
        sides = tuple(sorted({str(side[r]) for r in leak.rows if side[r] is not None}))
        found.setdefault((leak.column, leak.kind, sides), []).append(leak.rows)
    return found


# ----------------------------------------------------------------------------------- the split


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """What `moppet data split` is asked for.

    test, val: None takes 0.2 and 0.1, or no hold-out at all if only folds are asked for.
    """

    data: DataArgument
    output: Annotated[Path, output_option("The manifest to write (.parquet).")]
    dataset: DatasetOptions
    test: Annotated[float | None, typer.Option(help="Share of test rows; default: 0.2.")] = None
    val: Annotated[
        float | None, typer.Option(help="Share of validation rows; default: 0.1; 0 for none.")
    ] = None
    folds: Annotated[
        int | None, typer.Option(help="Number of cross-validation folds outside the test rows.")
    ] = None
    keep_test: Annotated[
        bool, flag("--keep-test", "Keep the test rows that the dataset comes with.")
    ] = False
    seed: SeedOption = 0
    as_json: JsonOption = False

    @property
    def holds_out(self) -> bool:
        """Whether a new split is made, not only folds."""
        asked = self.test is not None or self.val is not None or self.keep_test
        return asked or self.folds is None


def split(options: SplitOptions) -> None:
    """Split images into train, val and test rows.

    Classes and age bands are spread evenly. The images of one person, and duplicates of one
    image, stay in one part.
    """
    from moppet.datasets.audit import count_rows

    if options.keep_test and options.test is not None:
        raise UsageError("--keep-test keeps the test rows of the dataset: leave out --test.")
    manifest = _with_copies(options.dataset.read(options.data))
    if options.holds_out:
        manifest = _hold_out(options, manifest)
    if options.folds is not None:
        manifest = _add_folds(options, manifest, options.folds)
    columns = ["split"] * options.holds_out + ["fold"] * (options.folds is not None)
    counts = {column: count_rows(manifest, "label", column) for column in columns}
    written = manifest.write(options.output)
    if options.as_json:
        print(json.dumps({"manifest": str(written), "class_counts": counts}, indent=1))
        return
    for column, found in counts.items():
        Console(highlight=False).print(count_table("class", found, column))
    print(f"manifest: {written}")


def _with_copies(manifest: Manifest) -> Manifest:
    """Return the manifest with duplicates marked, unless they have been found before."""
    from moppet.datasets.duplicates import find_duplicates

    if manifest.table["content_hash"].null_count < len(manifest):
        return manifest
    with watched() as progress:
        return find_duplicates(manifest, progress=progress).manifest


def _hold_out(options: SplitOptions, manifest: Manifest) -> Manifest:
    from moppet.datasets.splits import split_manifest

    rows = _usable(manifest)
    made = split_manifest(
        manifest.select(rows),
        test=0.2 if options.test is None else options.test,
        val=0.1 if options.val is None else options.val,
        keep_test=options.keep_test,
        rng=np.random.default_rng(options.seed),
    )
    if manifest.table["split"].null_count < len(manifest) and not options.keep_test:
        print(
            "moppet: the dataset's own split is replaced; --keep-test keeps its test rows.",
            file=sys.stderr,
        )
    split = np.full(len(manifest), None, object)
    split[rows] = made.column("split")
    return manifest.replace(split=split)


def _add_folds(options: SplitOptions, manifest: Manifest, folds: int) -> Manifest:
    """Number the folds of the rows that share no group with a test row."""
    from moppet.datasets.splits import kfold

    groups = manifest.groups
    apart = np.isin(groups, groups[manifest.column("split") == "test"])
    rows = _usable(manifest)
    rows = rows[~apart[rows]]
    fold: list[Any] = [None] * len(manifest)
    numbers = kfold(manifest.select(rows), folds, np.random.default_rng([options.seed, folds]))
    for row, number in zip(rows, numbers, strict=True):
        fold[row] = int(number)
    return manifest.replace(fold=fold)


def _usable(manifest: Manifest) -> Any:
    """Return the rows whose image can be read, as far as it was checked."""
    if "readable" not in manifest.table.column_names:
        return np.arange(len(manifest))
    readable = np.array([r is not False for r in manifest.table["readable"].to_pylist()], bool)
    if not readable.all():
        print(
            f"moppet: images that cannot be read and get no split: {int((~readable).sum())}",
            file=sys.stderr,
        )
    return np.flatnonzero(readable)


# ----------------------------------------------------------------------- raters and coders


@dataclass(frozen=True, kw_only=True)
class AgreementOptions:
    """What `moppet data agreement` is asked for."""

    files: Annotated[list[Path], typer.Argument(help="A CSV file (path,label) for each rater.")]
    output: Annotated[
        Path | None, output_option("Write the manifest of all ratings (.parquet).")
    ] = None
    adjudication: Annotated[
        Path | None, typer.Option(help="A CSV file (path,label) that settles disagreements.")
    ] = None
    disagreements: Annotated[
        Path | None, typer.Option(help="Write unsettled images to this CSV, to fill in.")
    ] = None
    root: Annotated[
        Path | None, typer.Option(help="Folder of the image paths; default: the first file's.")
    ] = None
    seed: SeedOption = 0
    as_json: JsonOption = False


def agreement(options: AgreementOptions) -> None:
    """Measure how well raters agree on image labels."""
    from moppet.datasets import rater_agreement as raters

    ratings = raters.read_ratings(options.files)
    decided = {}
    if options.adjudication is not None:
        decided = raters.read_adjudication(options.adjudication, ratings)
    found = raters.measure_agreement(ratings, np.random.default_rng(options.seed))
    notes = []
    if options.disagreements is not None:
        count = raters.write_disagreements(options.disagreements, ratings, decided)
        notes.append(f"to settle: {options.disagreements} ({counted(count, 'image')})")
    if options.output is not None:
        root = options.root or options.files[0].parent
        manifest = raters.rated_manifest(ratings, decided, root=root)
        notes.append(f"manifest: {manifest.write(options.output)}")
    if options.as_json:
        print(json.dumps(raters.as_dict(ratings, found, decided), indent=1))
        return
    print_agreement(Console(highlight=False), ratings, found, decided)
    for note in notes:
        print(note)


def print_agreement(
    console: Console, ratings: Ratings, agreement: Agreement, decided: dict[str, str]
) -> None:
    """Print kappas with their intervals, and the images that raters disagree on."""
    table = Table(title="agreement, with 95 % intervals", title_justify="left")
    for name in ("raters", "images", "equal", "Cohen's kappa"):
        table.add_column(name)
    for pair, kappa in agreement.cohen.items():
        equal = estimate_text(agreement.equal[pair], ".3f")
        table.add_row(" – ".join(pair), str(kappa.n), equal, estimate_text(kappa, ".3f"))
    console.print(table)
    fleiss = agreement.fleiss
    say(
        console,
        f"Fleiss' kappa of all {len(ratings.raters)} raters, over the {fleiss.n} images that all "
        f"of them rated: {estimate_text(fleiss, '.3f')}",
    )
    known = {s for s in ratings.subjects if s is not None}
    drawn = f"{len(known)} subjects" if known else "images"
    console.print(f"intervals: bootstrap with 1,000 samples of {drawn}")
    disputed = ratings.disputed
    open_ = [row for row in disputed if ratings.paths[row] not in decided]
    say(
        console,
        f"raters disagree on {len(disputed)} of {len(ratings.paths)} images, {len(open_)} of them "
        f"unsettled; {len(decided)} are settled by adjudication",
    )
    for pair, n in list(agreement.confused.items())[:5]:
        console.print(f"  {' or '.join(pair)}: {n}")
    for row in open_[:_SHOWN]:
        labels = ", ".join(
            f"{rater} {name or '–'}"
            for rater, name in zip(ratings.raters, ratings.labels_of(row), strict=True)
        )
        say(console, f"{ratings.paths[row]}: {labels}")
    if len(open_) > _SHOWN:
        console.print(f"and {len(open_) - _SHOWN} more: --disagreements FILE.csv lists them all")


def corrected(
    timeline: Annotated[Path, typer.Argument(help="A timeline with corrections made in the page.")],
    recording: Annotated[Path, typer.Argument(help="The recording of that timeline.")],
    output: Annotated[Path, output_option("Folder for the faces, and a CSV file for each coder.")],
    every: Annotated[
        float, typer.Option(help="Seconds between the faces cut from one segment.", min=0.04)
    ] = 1.0,
) -> None:
    """Cut out corrected faces as labeled images."""
    from moppet.datasets.corrected_faces import labeled_faces, write_labeled
    from moppet.media import recording_sha256
    from moppet.timeline.annotations import read_annotated

    annotated = read_annotated(timeline)
    wanted = annotated.timeline.metadata.get("source_sha256")
    if not recording.is_file():
        raise UsageError(f"{recording} does not exist: name the recording of the timeline.")
    if wanted and recording_sha256(recording) != wanted:
        raise UsageError(f"{timeline} belongs to another recording, not to {recording}.")
    files, count = write_labeled(labeled_faces(annotated, every), recording, output)
    typer.echo(f"{count} faces in {output}")
    for file in files:
        typer.echo(str(file))
    if len(files) == 1:
        typer.echo(f"to train on them: moppet train {files[0]} -o my_model")
    else:
        typer.echo(f"to compare the coders: moppet data agreement {' '.join(map(str, files))}")


add_command(data, audit, "data audit my_faces/ -o my_faces.parquet")
add_command(
    *(data, split, "data split my_faces/ -o my_faces.parquet --folds 5"),
    {"--choose": "--val", "--keep-report": "--keep-test"},
)
add_command(data, agreement, "data agreement ann.csv ben.csv --disagreements decide.csv")
add_command(data, corrected, "data corrected timeline.parquet visit1.mp4 -o corrected")
