"""`moppet watch`: a guard over a camera or a video, without a page."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from moppet.commands.console import estimate_text
from moppet.commands.options import (
    READINGS,
    AlertOptions,
    JsonOption,
    ModelOption,
    PriorOption,
    choice,
    flag,
    read_reading,
)
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.guard import DetectionResult, Event, Guard, GuardSettings
    from moppet.guard.notifications import Notifier
    from moppet.infer.expression_model import ExpressionModel
    from moppet.metrics import Estimate

_DISTRESS: Final = "negative"
_UNWATCHED_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What `moppet watch` is asked for."""

    source: Annotated[str, typer.Argument(help="A camera (camera:0), or a video.")]
    rule: Annotated[
        list[str] | None,
        typer.Option(help='A rule: "negative >= 60 % for 4 s -> pause"; repeatable.'),
    ] = None
    rules: Annotated[
        Path | None, typer.Option(help="TOML file with rules, cooldown_s, calm_s and child.")
    ] = None
    alerts: AlertOptions
    sound: Annotated[str, typer.Option(help="Sound of an alert: bell, none, or a sound file.")] = (
        "bell"
    )
    log: Annotated[
        Path | None, typer.Option(help="Append events to this file (.jsonl or .csv).")
    ] = None
    child: Annotated[
        str | None,
        choice("Which face is the child's: largest (default) or longest.", "largest", "longest"),
    ] = None
    model: ModelOption = "default"
    reading: Annotated[
        str | None,
        choice("Reading that decides; default: display if the model has it.", *READINGS),
    ] = None
    prior: PriorOption = "natural"
    real_time: Annotated[bool, flag("--real-time", "Read a video at its own pace.")] = False
    against: Annotated[
        Path | None,
        typer.Option(help="A coder's file of this video: report what the guard missed."),
    ] = None
    tier: Annotated[
        str | None, typer.Option(help="Name of the tier, column or BORIS subject to compare.")
    ] = None
    as_json: JsonOption = False

    def __post_init__(self) -> None:
        if self.reading is not None:
            read_reading(self.reading)


def watch(options: WatchOptions) -> None:
    """Watch a child's face, and pause or alert by rules.

    Without rules, moppet pauses after 4 s of distress or 30 s without a face, and alerts if the
    distress returns. Ctrl-C ends with a summary. This is not a medical device.
    """
    from moppet.infer.expression_model import find_model, read_card

    settings = _settings(options, read_card(find_model(options.model)))
    from moppet.guard import EventLog
    from moppet.guard.notifications import Alerts, Notifier
    from moppet.infer.expression_model import check_reading, load_model
    from moppet.infer.priors import read_prior

    prior = read_prior(options.prior, estimate=False)
    _check_source(options)
    model = load_model(options.model, prior=prior)
    check_reading(model, options.reading or "observers")
    distress = None
    if options.against is not None:
        from moppet.coders.comparison import coded_times

        distress = coded_times(
            *(options.against, options.tier, _DISTRESS, model.names, model.group_of),
            recording=Path(options.source).name,
            tell=lambda note: typer.echo(f"Note: {note}", err=True),
        )
    alerts = Alerts(options.alerts.channels(options.sound))
    log = EventLog(options.log) if options.log else None
    with closing(Notifier(alerts, log)) as notifier:
        _Watch(options, settings, model, distress, notifier).run()


def _settings(options: WatchOptions, card: Mapping[str, Any]) -> GuardSettings:
    from moppet.guard import GuardSettings, default_rules, parse_rules, read_guard

    defaults = default_rules(card)
    settings = GuardSettings(parse_rules(defaults))
    if options.rules is not None:
        settings = read_guard(options.rules, defaults)
    if options.rule:
        settings = replace(settings, rules=parse_rules(options.rule, source="--rule"))
    return settings if options.child is None else replace(settings, child=cast(Any, options.child))


def _check_source(options: WatchOptions) -> None:
    from moppet.media import probe

    kind = probe(options.source).kind
    if kind == "images":
        raise UsageError(f"watch takes a camera or a video, but {options.source} holds images.")
    if kind == "camera" and options.real_time:
        raise UsageError("--real-time is for videos: a camera has its own pace.")
    if kind == "camera" and options.against is not None:
        raise UsageError("--against needs a video that was coded, got a camera.")


def found_lines(found: DetectionResult) -> Iterator[str]:
    """Yield what a guard found and missed as lines of text, with 95 % intervals."""
    n = len(found.distress)
    yield f"Coded distress: {n}, found {len(found.delays_s)}, missed {estimate_text(found.missed)}"
    for one in found.distress:
        when = f"  {one.start_s:.1f}-{one.end_s:.1f} s"
        late = "missed" if math.isnan(one.delay_s) else f"found after {one.delay_s:.1f} s"
        yield f"{when}: {late}"
    if found.delays_s:
        yield f"Median delay {found.median_delay_s:.1f} s, longest {max(found.delays_s):.1f} s"
    rate = estimate_text(found.false_alarms_per_hour, ".1f")
    yield (
        f"False alarms: {len(found.false_alarms_s)} in {found.calm_s / 60:.1f} min without "
        f"distress, {rate} per hour"
    )


def found_record(found: DetectionResult) -> dict[str, Any]:
    """Return the same as plain values, None for what is undefined."""
    return {
        "event": "measured",
        "distress": [
            {name: _known(value) for name, value in one._asdict().items()} for one in found.distress
        ],
        "false_alarms_s": list(found.false_alarms_s),
        "calm_s": found.calm_s,
        "missed": _plain(found.missed),
        "false_alarms_per_hour": _plain(found.false_alarms_per_hour),
        "median_delay_s": _known(found.median_delay_s),
    }


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {name: _known(value) for name, value in estimate._asdict().items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass
class _Watch:
    """One run of the guard. distress: start and end of what a person coded; None if nobody did."""

    options: WatchOptions
    settings: GuardSettings
    model: ExpressionModel
    distress: list[tuple[float, float]] | None
    notifier: Notifier
    fired_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Watch until the source ends or the user stops it."""
        from moppet.guard import Guard
        from moppet.guard.notifications import now

        guard = Guard.from_card(self.settings, self.model.card)
        if guard.uses_distress and self.options.prior != "natural":
            raise UsageError(
                "the distress score was fitted for the model's own prior: leave out --prior, or "
                'use rules about "negative".'
            )
        self._begin(self.model.name)
        try:
            self._follow(guard)
        except KeyboardInterrupt:
            pass  # that is how the guard is ended
        except Exception:  # of any kind: people must know that the guard has stopped
            self._tell({"event": "stopped", "at": now()})
            raise
        finally:
            try:
                self._end(guard)
            finally:
                self.notifier.alerts.finish()

    def _follow(self, guard: Guard) -> None:
        from moppet.guard import event_record
        from moppet.guard.notifications import now, print_note
        from moppet.infer.pipeline import stream
        from moppet.infer.priors import read_prior
        from moppet.timeline import TimelineSettings

        reading = self.options.reading or ("display" if self.model.has_display else "observers")
        if reading == "observers" and guard.needs_display:
            reading = "both"
        started_s, warned = time.monotonic(), False
        for rows in stream(
            self.options.source,
            model=self.options.model,
            prior=read_prior(self.options.prior, estimate=False),
            timeline=TimelineSettings(reading=read_reading(reading)),
        ):
            if self.options.real_time:
                passed_s = time.monotonic() - started_s
                time.sleep(max(0.0, rows[0]["time_s"] - passed_s))
            for event in guard.observe(rows):
                if event.kind != "resume":
                    self.fired_s.append(event.time_s)
                self._tell(event_record(event, now()), event)
                if event.kind == "resume":
                    guard.resume(event.time_s)
            if guard.summary.unwatched_s > _UNWATCHED_S and not warned:
                warned = True
                print_note("frames are more than a second apart: this time is not watched.")

    def _begin(self, model: str) -> None:
        from moppet.guard.notifications import print_note

        if host := self.notifier.alerts.webhook_host:
            print_note(f"alerts are sent to {host}: numbers and rules, no images.")
        self._print(self.notifier.log_start(model, self.settings.to_dict()))
        if not self.options.as_json:
            typer.echo(f"Watching {self.options.source}. Press Ctrl-C to end.")
            for rule in self.settings.rules:
                typer.echo(f"  {rule}")

    def _tell(self, record: dict[str, Any], event: Event | None = None) -> None:
        self._print(self.notifier.send(record))
        if event is not None and not self.options.as_json:
            value = "" if event.value is None else f" ({event.value:.0%})"
            typer.echo(f"{event.time_s:9.1f} s  {event.kind:6}  {event.rule}{value}")

    def _print(self, record: dict[str, Any]) -> None:
        if self.options.as_json:
            typer.echo(json.dumps(record, ensure_ascii=False))

    def _end(self, guard: Guard) -> None:
        from moppet.guard import match_events
        from moppet.guard.notifications import now

        summary = guard.summary
        self._print(self.notifier.log({"event": "end", "at": now(), **asdict(summary)}))
        if not self.options.as_json:
            typer.echo(
                f"Watched {summary.watched_s:.1f} s: child's face clear {summary.sure_s:.1f} s, "
                f"unsure {summary.unsure_s:.1f} s, missing {summary.absent_s:.1f} s. "
                f"Not watched: {summary.unwatched_s:.1f} s"
            )
            typer.echo(
                f"Pauses: {summary.events['pause']} ({summary.paused_s:.1f} s), "
                f"alerts: {summary.events['alert']}"
            )
        if self.distress is not None:
            self._measure(match_events(self.fired_s, self.distress, summary.watched_s))

    def _measure(self, found: DetectionResult) -> None:
        self._print(self.notifier.log(found_record(found)))
        if not self.options.as_json:
            for line in found_lines(found):
                typer.echo(line)
