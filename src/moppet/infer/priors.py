"""Priors: how frequent the classes are, and what that changes in a model's probabilities.

Probabilities are calibrated for one prior: that of the rows on which they were calibrated. For
another one, they follow by Bayes' rule (Saerens, Latinne & Decaestecker 2002, equation 2.4):

    p'(c | x) ∝ p(c | x) · new(c) / old(c)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.config import read_toml
from moppet.values import Floats, UsageError, name_hint

Prior = Literal["natural", "uniform"] | Mapping[str, float]
"""The model's own prevalences, equal ones, or class → prevalence."""
PriorChoice = Prior | Literal["estimate"]
"""The same, or "estimate": from the faces of a recording or data set."""
PRIORS: Final = ("natural", "uniform", "estimate")
"""The priors that have a name; "estimate" needs all faces of a recording or data set."""

_PSEUDO_FACES: Final = 30
"""An estimate counts so many faces of the prior that it starts from."""
_SUM_TOLERANCE: Final = 0.01
_MOST_STEPS: Final = 1000
_SMALLEST_STEP: Final = 1e-6


class Estimated(NamedTuple):
    """prior: class → prevalence, estimated. n: the faces that it is estimated from."""

    prior: dict[str, float]
    n: int


def prior_problems(prior: Mapping[str, float], names: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with a prior of these classes, each as the end of a sentence."""
    if stray := [name for name in prior if name not in names]:
        yield f"names {stray[0]!r}, which is not one of the classes.{name_hint(stray[0], names)}"
    elif lacking := [name for name in names if name not in prior]:
        yield f"must name every class, but lacks {', '.join(lacking)}."
    elif not all(0 <= value <= 1 for value in prior.values()):
        yield "must have prevalences from 0 to 1."
    elif abs((total := math.fsum(prior.values())) - 1) > _SUM_TOLERANCE:
        yield f"must sum to 1, but sums to {total:.4g}."


def full_prior(prior: Prior, names: Sequence[str]) -> dict[str, float]:
    """Return "uniform" or a mapping as class → prevalence, scaled to sum to 1 exactly.

    Raises UsageError if it does not name every class, or does not sum to 1 within 0.01.
    """
    if prior == "uniform":
        return dict.fromkeys(names, 1 / len(names))
    if not isinstance(prior, Mapping):
        raise UsageError(
            f"prior must be natural, uniform, or the prevalence of each class, got {prior!r}."
        )
    for problem in prior_problems(prior, names):
        raise UsageError(f"the prior {problem}")
    total = math.fsum(prior.values())
    return {name: prior[name] / total for name in names}


def log_ratio(
    old: Mapping[str, float], new: Mapping[str, float], names: Sequence[str]
) -> NDArray[np.float32]:
    """Return (k,) log(new / old): added to logits, it changes the prior. -inf for new = 0."""
    with np.errstate(divide="ignore"):
        ratio = np.log([new[name] / old[name] for name in names])
    return np.asarray(ratio, np.float32)


def change_prior(
    probabilities: Floats,
    old: Mapping[str, float],
    new: Mapping[str, float],
    names: Sequence[str],
) -> Floats:
    """Return probabilities (n, k) that are calibrated for the prior `new` instead of `old`.

    Rows of NaN stay NaN. A row for which `new` excludes every class that it holds possible keeps
    its values.
    """
    weight = np.array([new[name] / old[name] for name in names])
    shares = probabilities.astype(np.float64) * weight
    total = shares.sum(axis=1, keepdims=True)
    changed = np.divide(shares, total, out=probabilities.astype(np.float64), where=total > 0)
    return np.where(np.isnan(total), np.float32(np.nan), changed).astype(np.float32)


def estimate_prior(
    probabilities: Floats, old: Mapping[str, float], names: Sequence[str], *, weight: float = 1.0
) -> Estimated:
    """Return the prevalence of each class among these faces, by expectation maximization.

    probabilities: (n, k), calibrated for the prior `old`; rows of NaN are left out. From `old` on,
    the prior becomes the mean of the probabilities under it, until it stays (Saerens et al. 2002,
    equation 2.9). Thirty faces with the prevalences of `old` count, too (a Dirichlet prior):
    without them, a few faces that are all alike would rule out every other class.
    weight: how many faces a row counts for; less than 1 for rows that depend on each other, such
        as the frames of a film.
    """
    known = probabilities[~np.isnan(probabilities).any(axis=1)].astype(np.float64)
    start = np.array([old[name] for name in names])
    likelihood, now = known / start, start
    total = weight * len(known) + _PSEUDO_FACES
    for _ in range(_MOST_STEPS if len(known) else 0):
        joint = likelihood * now
        counts = (joint / joint.sum(axis=1, keepdims=True)).sum(axis=0)
        then, now = now, (weight * counts + _PSEUDO_FACES * start) / total
        if np.abs(now - then).max() < _SMALLEST_STEP:
            break
    return Estimated(dict(zip(names, (now / now.sum()).tolist(), strict=True)), len(known))


def read_prior(word: str, *, estimate: bool = True) -> Any:
    """Return what `--prior` asks for: one of PRIORS, or the prevalences in a TOML file.

    estimate: whether "estimate" can be done here. Raises UsageError for anything else.
    """
    if word == "estimate" and not estimate:
        raise UsageError(
            "--prior estimate needs all faces before it can read the first one: use it with "
            "moppet analyze, and give its result to --prior as a TOML file."
        )
    if word in PRIORS:
        return word
    path = Path(word)
    if path.suffix.lower() != ".toml":
        raise UsageError(
            f"--prior takes {', '.join(PRIORS)}, or a TOML file with the prevalence of each "
            f"class, got {word!r}."
        )
    table = read_toml(path, "prior")
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{path} must give each class a number, but {name} is {value!r}.")
    return {name: float(value) for name, value in table.items()}
