"""`moppet distress`: fit and measure the guard's distress score of a model."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moppet.commands.console import counted, estimate_text, watched
from moppet.commands.options import JsonOption, flag
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.guard.distress_fit import Fitted
    from moppet.guard.trials import Outcome, Trial


@dataclass(frozen=True, kw_only=True)
class DistressOptions:
    """What `moppet distress` is asked for."""

    model: Annotated[Path, typer.Argument(help="The model folder; its card.toml is changed.")]
    clips: Annotated[Path, typer.Argument(help="Folder of `moppet synthesize clip`.")]
    timelines: Annotated[
        Path, typer.Argument(help="Output folder of `moppet analyze` for these clips.")
    ]
    measure_only: Annotated[
        bool, flag("--measure-only", "Keep the score of the card, and measure it.")
    ] = False
    as_json: JsonOption = False


def distress(options: DistressOptions) -> None:
    """Fit and measure the guard's distress score of a model.

    Fits on the clips for tuning (split val of clips.csv), measures the default rules on the others
    (test), and writes both into the table [distress] of the model's card.
    """
    from moppet.guard.distress import read_score, write_distress
    from moppet.guard.trials import Measured, find_trials, read_trial
    from moppet.infer.expression_model import find_model, read_card

    if not options.model.is_dir():
        raise UsageError(f"moppet distress needs a model folder, and {options.model} is none.")
    card = read_card(find_model(options.model.resolve()))
    files = find_trials(options.clips, options.timelines)
    trials = [read_trial(one, card["sha256"]) for one in files]
    fitted, score = None, read_score(card)
    if not options.measure_only:
        fitted = _fit(card, trials)
        score = fitted.score
    if score is None:
        raise UsageError(f"{options.model} has no distress score yet: leave out --measure-only.")
    tables = score.to_toml()
    outcomes = _outcomes(trials, {**card, **tomllib.loads(tables)})
    measured = Measured.of(outcomes) if outcomes else None
    write_distress(
        options.model / "card.toml", tables + (f"\n{measured.to_toml()}" if measured else "")
    )
    if options.as_json:
        candidates = None if fitted is None else fitted.candidates
        figures = None if measured is None else asdict(measured)
        print(json.dumps({"candidates": candidates, "measured": figures}, indent=1))
        return
    if fitted is not None:
        _print_candidates(fitted)
    _print_outcomes(outcomes)
    typer.echo(f"Written to {options.model / 'card.toml'}.")


def _fit(card: Mapping[str, Any], trials: Sequence[Trial]) -> Fitted:
    from moppet.guard.distress_fit import Fitter

    names = [str(name) for name in card["labels"]]
    fitter = Fitter(names, card.get("groups", {}), [str(m) for m in card.get("movements", ())])
    tuning = [trial for trial in trials if trial.split == "val"]
    with watched("candidates") as progress:
        return fitter.fit(tuning, lambda done, total: progress("fitting", done, total))


def _outcomes(trials: Sequence[Trial], card: Mapping[str, Any]) -> list[Outcome]:
    """Return what the default rules find in the trials that report; absence is no distress."""
    from moppet.guard import Guard, GuardSettings, default_rules, parse_rules
    from moppet.guard.trials import run_trial

    rules = GuardSettings(parse_rules(default_rules(card)[:2]))
    return [
        run_trial(trial, Guard.from_card(rules, card, trial.settings))
        for trial in trials
        if trial.split == "test"
    ]


def _print_candidates(fitted: Fitted) -> None:
    typer.echo("Cross-validated by child, on the clips for tuning:")
    width = max(len(row["features"]) for row in fitted.candidates)
    for row in fitted.candidates:
        alarms = row["false_alarms_per_hour"]
        typer.echo(
            f"  {row['features']:{width}}  penalty {row['penalty']:<5g}  log loss "
            f"{row['log_loss']:.3f}  missed {_percent(row['missed'])}  "
            f"{alarms:.1f} false alarms per hour{'  (chosen)' * row['chosen']}"
        )


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    from moppet.guard.trials import figures, figures_by_group

    if not outcomes:
        typer.echo("No clips for reporting (split test): nothing was measured.")
        return
    found = figures(outcomes)
    typer.echo(f"Default rules, on {counted(len(outcomes), 'clip')} for reporting:")
    of = f"{found.missed_count} of {found.missed.n}"
    typer.echo(f"  distress missed: {estimate_text(found.missed)}, {of}")
    rate = estimate_text(found.false_alarms_per_hour, ".1f")
    of = f"{found.false_alarms_per_hour.n} in {found.hours:.2f} h"
    typer.echo(f"  false alarms per hour: {rate}, {of}")
    if found.delays_s:
        typer.echo(
            f"  delay: median {found.median_delay_s:.1f} s, longest {max(found.delays_s):.1f} s"
        )
    for name, one in figures_by_group(outcomes).items():
        typer.echo(
            f"  {name}: missed {one.missed_count} of {one.missed.n}, "
            f"{counted(one.false_alarms_per_hour.n, 'false alarm')}"
        )


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"
