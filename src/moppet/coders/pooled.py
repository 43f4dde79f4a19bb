"""Agreement over many recordings: pooled kappa, alpha, and correlations of shares of time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.coders.comparison import Ask, Coder, Job, Result, compare_files
from moppet.coders.time_units import Track
from moppet.files import read_bytes
from moppet.metrics import Estimate, as_json, bootstrap_many
from moppet.metrics.bootstrap import Weights, from_rows
from moppet.metrics.classification import accuracy_of, confusion, kappa_of
from moppet.metrics.interrater import alpha_of, coincidences, intraclass_correlation
from moppet.values import MoppetError, UsageError, name_hint

COLUMNS: Final = ("timeline", "codes", "codes2", "face", "tier", "tier2", "offset", "participant")
_MOST: Final = 32_000_000  # bytes
FEW_PARTICIPANTS: Final = 10


@dataclass(frozen=True)
class Listed:
    """A row of the list: the files of one recording, and whose it is."""

    job: Job
    participant: str


@dataclass(frozen=True)
class PooledPair:
    """Two raters over all recordings.

    kappa, agreement: pooled over all time units. shares: label → ICC(2,1) and ICC(3,1) of the
    shares of time in each recording. seconds: compared. Intervals draw participants.
    """

    first: str
    second: str
    seconds: float
    recordings: int
    participants: int
    kappa: Estimate
    agreement: Estimate
    shares: Mapping[str, tuple[Estimate, Estimate]]


@dataclass(frozen=True)
class Pooled:
    """The agreement over many recordings. alpha: Krippendorff's, of all raters and time units."""

    results: tuple[Result, ...]
    names: tuple[str, ...]
    raters: tuple[str, ...]
    pairs: tuple[PooledPair, ...]
    alpha: Estimate
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
        return {
            "recordings": len(self.results),
            "raters": list(self.raters),
            "labels": list(self.names),
            "alpha": as_json(self.alpha),
            "pairs": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "compared_s": round(pair.seconds, 6),
                    "recordings": pair.recordings,
                    "participants": pair.participants,
                    "kappa": as_json(pair.kappa),
                    "agreement": as_json(pair.agreement),
                    "shares": {
                        label: {"icc_2_1": as_json(two), "icc_3_1": as_json(three)}
                        for label, (two, three) in pair.shares.items()
                    },
                }
                for pair in self.pairs
            ],
            "notes": list(self.notes),
            "comparisons": [one.as_json() for one in self.results],
        }


def read_jobs(path: Path, common: Job) -> list[Listed]:
    """Return the comparisons of a CSV file, a row for each recording.

    Its columns are `timeline` and `codes`, and may be `codes2`, `face`, `tier`, `tier2`, `offset`
    and `participant`; others are not read. Paths are relative to the file's folder. common: what
    rows leave open. Raises UsageError if the file is no such list.
    """
    text = read_bytes(path, "list of comparisons", UsageError, _MOST).decode("utf-8-sig", "replace")
    mark = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    columns = [name.strip() for name in reader.fieldnames or ()]
    for name in ("timeline", "codes"):
        if name not in columns:
            raise UsageError(
                f"{path} needs a column {name!r}; it has {', '.join(columns) or 'none'}."
                f"{name_hint(name, columns)}"
            )
    found = []
    for line, cells in enumerate(reader, start=2):
        row = {str(k).strip(): v.strip() for k, v in cells.items() if isinstance(v, str) and v}
        if not row.get("timeline") or not row.get("codes"):
            raise UsageError(f"Row {line} of {path} needs a timeline and codes.")
        found.append(_listed(row, path, line, common))
    if not found:
        raise UsageError(f"{path} has no rows.")
    return found


def _listed(row: Mapping[str, str], path: Path, line: int, common: Job) -> Listed:
    (given,) = common.coders[:1] or (Coder(Path()),)
    try:
        offset_s = float(row.get("offset") or given.offset_s)
    except ValueError:
        raise UsageError(
            f"Row {line} of {path} needs a number of seconds as offset, got {row['offset']!r}."
        ) from None
    coders = []
    for codes, tier in (("codes", "tier"), ("codes2", "tier2")):
        if row.get(codes):
            word = row.get(tier) or row.get("tier")
            tiers = (word,) if word else given.tiers
            place = path.parent / row[codes]
            coders.append(replace(given, path=place, tiers=tiers, offset_s=offset_s))
    timeline = path.parent / row["timeline"]
    job = replace(common, timeline=timeline, coders=coders, face=row.get("face") or common.face)
    return Listed(job, row.get("participant") or f"row {line}")


def compare_list(
    listed: Sequence[Listed],
    seed: int,
    ask: Ask | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pooled:
    """Return the agreement over all recordings of a list.

    Raises UsageError if the recordings are compared at different levels, else what
    `compare_files` raises, with the row's timeline.
    """
    results = []
    for number, one in enumerate(listed):
        if progress is not None:
            progress(number, len(listed))
        try:
            results.append(compare_files(one.job, ask))
        except MoppetError as error:
            raise type(error)(f"{one.job.timeline}: {error}") from error
    if len({result.about["level"] for result in results}) > 1:
        raise UsageError(
            "Some recordings are compared by expression, others by group: add --level group."
        )
    participants = [one.participant for one in listed]
    names = tuple(dict.fromkeys(n for result in results for n in result.comparison.names))
    recoded = [_Recoded(result, names) for result in results]
    clusters = np.unique(participants, return_inverse=True)[1]
    raters = tuple(dict.fromkeys(name for one in recoded for name in one.values))
    rng = np.random.default_rng(seed)
    pairs = tuple(
        _pair(first, second, recoded, clusters, names, rng)
        for first, second in _pairs(raters, recoded)
    )
    notes = []
    if len(set(participants)) < FEW_PARTICIPANTS:
        notes.append(
            f"The list has {len(set(participants))} participants: with fewer than "
            f"{FEW_PARTICIPANTS}, intervals are too narrow."
        )
    alpha = _alpha(recoded, clusters, names, rng)
    return Pooled(tuple(results), names, raters, pairs, alpha, tuple(notes))


class _Recoded:
    """The values of each rater of one recording, as numbers of the names of all recordings."""

    def __init__(self, result: Result, names: Sequence[str]) -> None:
        comparison = result.comparison
        place = np.array([*(names.index(name) for name in comparison.names), -1])
        self.unit_s = comparison.units.unit_s
        self.everyone = comparison.everyone
        self.values = {
            _rater(track): place[np.where(track.value >= 0, track.value, -1)]
            for track in comparison.tracks
        }


def _rater(track: Track) -> str:
    """Return the rater's name: the only coder of a recording is the first of others."""
    return "coder 1" if track.name == "coder" else track.name


def _pairs(raters: Sequence[str], recoded: Sequence[_Recoded]) -> Iterator[tuple[str, str]]:
    for pair in combinations(sorted(raters), 2):
        if any(set(pair) <= one.values.keys() for one in recoded):
            yield pair


def _pair(
    first: str,
    second: str,
    recoded: Sequence[_Recoded],
    clusters: NDArray[np.intp],
    names: Sequence[str],
    rng: np.random.Generator,
) -> PooledPair:
    k, seconds = len(names), 0.0
    counts, shares, mine = [], [], []
    for one, participant in zip(recoded, clusters.tolist(), strict=True):
        if {first, second} <= one.values.keys():
            a, b = one.values[first], one.values[second]
            both = one.everyone & (a >= 0) & (b >= 0)
            counts.append(confusion(a[both], b[both], k).astype(np.float64))
            seconds += float(both.sum()) * one.unit_s
            total = max(int(both.sum()), 1)
            parts = [np.bincount(x[both], minlength=k) / total for x in (a, b)]
            shares.append(np.stack(parts) if both.any() else np.full((2, k), np.nan))
            mine.append(participant)
    tables, groups, share = np.array(counts), np.array(mine), np.array(shares)

    def figures(weight: Weights) -> dict[str, NDArray[np.float64]]:
        pooled = np.tensordot(weight, tables, axes=1)
        return {"kappa": kappa_of(pooled), "agreement": accuracy_of(pooled)}

    drawn = bootstrap_many(figures, groups, rng)
    n = len(set(mine))
    used = [label for i, label in enumerate(names) if np.nansum(share[:, :, i]) > 0]
    return PooledPair(
        first,
        second,
        seconds,
        len(mine),
        n,
        drawn["kappa"]._replace(n=n),
        drawn["agreement"]._replace(n=n),
        {label: _icc(share[:, :, names.index(label)], groups, rng) for label in used},
    )


def _icc(
    share: NDArray[np.float64], groups: NDArray[np.integer[Any]], rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """Return both intraclass correlations of (n, 2) shares of time."""
    figures = from_rows(
        {
            "two": lambda rows: intraclass_correlation(share[rows]).icc_2_1,
            "three": lambda rows: intraclass_correlation(share[rows]).icc_3_1,
        }
    )
    drawn = bootstrap_many(figures, groups, rng)
    n = intraclass_correlation(share).n
    return drawn["two"]._replace(n=n), drawn["three"]._replace(n=n)


def _alpha(
    recoded: Sequence[_Recoded],
    clusters: NDArray[np.intp],
    names: Sequence[str],
    rng: np.random.Generator,
) -> Estimate:
    k = len(names)
    matrices = []
    for one in recoded:
        values = np.stack(list(one.values.values()))
        counts = np.stack([(values == code).sum(axis=0) for code in range(k)], axis=1)
        matrices.append(coincidences(counts))
    tables, distance = np.array(matrices), 1.0 - np.eye(k)

    def figures(weight: Weights) -> dict[str, NDArray[np.float64]]:
        return {"alpha": alpha_of(np.tensordot(weight, tables, axes=1), distance)}

    found = bootstrap_many(figures, clusters, rng)["alpha"]
    return found._replace(n=len(set(clusters.tolist())))


def pooled_rows(found: Pooled) -> Iterator[dict[str, Any]]:
    """Yield the figures as rows of a table: pair, label, figure, value, low, high, n."""
    alpha = {"pair": "all raters", "label": "", "figure": "Krippendorff's alpha"}
    yield {**alpha, **found.alpha._asdict()}
    for pair in found.pairs:
        head = {"pair": f"{pair.second} and {pair.first}", "label": ""}
        yield {**head, "figure": "Cohen's kappa", **pair.kappa._asdict()}
        yield {**head, "figure": "agreement", **pair.agreement._asdict()}
        for label, iccs in pair.shares.items():
            for name, one in zip(("ICC(2,1)", "ICC(3,1)"), iccs, strict=True):
                yield {**head, "label": label, "figure": name, **one._asdict()}
