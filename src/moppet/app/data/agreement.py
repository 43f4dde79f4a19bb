"""`moppet data agreement`: several raters' files → how far they agree, and one manifest."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from moppet.data.agreement import Agreement, Ratings
    from moppet.metrics import Estimate

_SHOWN: Final = 10


@dataclass(frozen=True)
class AgreementJob:
    """What `moppet data agreement` was asked for.

    root: the folder that the pictures' paths start from; None takes that of the first file.
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
    from moppet.data.agreement import (
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
        notes.append(f"to decide: {job.disagreements} ({count} pictures)")
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


def as_dict(ratings: Ratings, agreement: Agreement, decided: dict[str, str]) -> dict[str, Any]:
    """Return the agreement as JSON takes it; a figure without a value is null."""
    return {
        "raters": list(ratings.raters),
        "names": list(ratings.names),
        "n": len(ratings.paths),
        "subjects": len({s for s in ratings.subjects if s is not None}),
        "pairs": [
            {"raters": list(pair), "equal": _plain(equal), "cohen_kappa": _plain(kappa)}
            for (pair, equal), kappa in zip(
                agreement.equal.items(), agreement.cohen.values(), strict=True
            )
        ],
        "fleiss_kappa": _plain(agreement.fleiss),
        "confused": [[*pair, n] for pair, n in agreement.confused.items()],
        "disagreements": [
            {
                "path": ratings.paths[row],
                "said": dict(zip(ratings.raters, ratings.called(row), strict=True)),
                "decided": decided.get(ratings.paths[row]),
            }
            for row in ratings.disputed
        ],
    }


def print_agreement(
    console: Console, ratings: Ratings, agreement: Agreement, decided: dict[str, str]
) -> None:
    """Print kappas with their intervals, and what the raters differ on."""
    table = Table(title="agreement, with 95 % intervals", title_justify="left")
    for name in ("raters", "pictures", "equal", "Cohen's kappa"):
        table.add_column(name)
    for pair, kappa in agreement.cohen.items():
        equal = _cell(agreement.equal[pair])
        table.add_row(" – ".join(pair), str(kappa.n), equal, _cell(kappa))
    console.print(table)
    fleiss = agreement.fleiss
    console.print(
        f"Fleiss' kappa of all {len(ratings.raters)}, over the {fleiss.n} pictures that all "
        f"rated: {_cell(fleiss)}",
        soft_wrap=True,
    )
    known = {s for s in ratings.subjects if s is not None}
    drawn = f"{len(known)} subjects" if known else "pictures"
    console.print(f"the intervals come from 1,000 draws of {drawn}")
    disputed = ratings.disputed
    open_ = [row for row in disputed if ratings.paths[row] not in decided]
    console.print(
        f"{len(disputed)} of {len(ratings.paths)} pictures are disputed, {len(open_)} of them "
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


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {k: None if v != v else v for k, v in estimate._asdict().items()}
