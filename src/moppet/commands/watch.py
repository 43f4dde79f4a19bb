"""`moppet watch`: a guard over a camera or a video, without a page."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from moppet.coders import Vocabulary, check_known, read_coding
from moppet.coders.selection import choose_lane
from moppet.guard import (
    CHILD,
    Event,
    EventLog,
    Found,
    Guard,
    GuardSettings,
    event_record,
    find_events,
    parse_rules,
    read_settings,
)
from moppet.guard.notifications import Alerts, Channels, Telling, now, say_aside
from moppet.infer.models import load_model
from moppet.infer.pipeline import stream
from moppet.media import probe
from moppet.metrics import Estimate
from moppet.values import UsageError

DISTRESS: Final = "negative"


def coded_distress(
    path: Path,
    tier: str | None,
    names: Sequence[str],
    group_of: Mapping[str, str],
    recording: str,
) -> list[tuple[float, float]]:
    """Return start and end of each code of distress, in seconds: those that mean "negative".

    path: a coder's file, as `moppet compare` takes it, or corrections. tier: which part of it.
    Raises UsageError for a tier or label that is unknown, TimelineError for a file that is none.
    """
    vocabulary = Vocabulary(names, group_of, {})
    lane = choose_lane(
        *(read_coding(path), path, vocabulary),
        tier=tier,
        observation=None,
        recording=recording,
    )
    check_known(lane.labels, vocabulary, str(path))
    return [
        (code.start_s, code.end_s)
        for code in lane.codes
        if not code.is_point and vocabulary.at("group", code.label) == DISTRESS
    ]


def found_lines(found: Found) -> Iterator[str]:
    """Yield what a guard found in words, with 95 % intervals."""
    n = len(found.distress)
    yield f"coded distress: {n}, found {len(found.delays_s)}, missed {_text(found.missed, '.2f')}"
    for one in found.distress:
        when = f"  {one.start_s:.1f}-{one.end_s:.1f} s"
        late = "missed" if math.isnan(one.delay_s) else f"found after {one.delay_s:.1f} s"
        yield f"{when}: {late}"
    if found.delays_s:
        yield f"median delay {found.median_delay_s:.1f} s, longest {max(found.delays_s):.1f} s"
    rate = _text(found.false_alarms_per_hour, ".1f")
    yield (
        f"false alarms: {len(found.false_alarms_s)} in {found.calm_s / 60:.1f} min without "
        f"distress, {rate} an hour"
    )


def found_record(found: Found) -> dict[str, Any]:
    """Return the same as JSON holds it, None for what is undefined."""
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


def _text(estimate: Estimate, form: str) -> str:
    if math.isnan(estimate.value):
        return "–"
    low, high = (format(v, form) for v in (estimate.low, estimate.high))
    return f"{format(estimate.value, form)} ({low}-{high})"


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {name: _known(value) for name, value in estimate._asdict().items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


_UNWATCHED_S: Final = 10.0


def watch(
    source: Annotated[str, typer.Argument(help="camera:0, or a video.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(help='Such as "negative >= 60 % for 4 s -> pause"; again for more.'),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="TOML with rules, cooldown_s, calm_s, child.")
    ] = None,
    on_alert: Annotated[str | None, typer.Option(help="Program to start on an alert.")] = None,
    on_pause: Annotated[str | None, typer.Option(help="Program to start on a pause.")] = None,
    on_resume: Annotated[
        str | None, typer.Option(help="Program to start when the child is calm again.")
    ] = None,
    sound: Annotated[
        str, typer.Option(help="On an alert: bell, none, or a sound file to play.")
    ] = "bell",
    webhook: Annotated[
        str | None, typer.Option(help="Tell this address of alerts: they LEAVE this machine.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Add events to this .jsonl or .csv.")] = None,
    child: Annotated[
        str | None, typer.Option(help=f"The child's face: {' or '.join(CHILD)}.")
    ] = None,
    model: Annotated[str, typer.Option(help="A bundled model, or a model folder.")] = "default",
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Read a video at its own pace.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(help="A coder's file of this video: say what the guard found and missed."),
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="The tier, column or subject of that file, by its name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Watch a child's face: pause, alert and note by rules in plain words; Ctrl-C ends it."""
    settings = GuardSettings() if rules is None else read_settings(rules)
    if rule:
        settings = replace(settings, rules=parse_rules(rule, source="--rule"))
    if child is not None:
        settings = replace(settings, child=child)
    kind = probe(source).kind
    if kind == "images":
        raise UsageError(f"watch takes a camera or a video, but {source} holds images.")
    if kind == "camera" and real_time:
        raise UsageError("--real-time is for videos: a camera has its own pace.")
    if kind == "camera" and against is not None:
        raise UsageError("--against is for videos: nobody has coded what a camera will see.")
    read = load_model(model)
    distress = None
    if against is not None:
        distress = coded_distress(against, tier, read.names, read.group_of, Path(source).name)
    channels = Channels(on_alert, on_pause, on_resume, sound, webhook)
    with ExitStack() as stack:
        job = _Watch(
            source=source,
            model=model,
            distress=distress,
            settings=settings,
            telling=Telling(Alerts(channels), stack.enter_context(EventLog(log)) if log else None),
            real_time=real_time,
            as_json=as_json,
        )
        job.run()


@dataclass
class _Watch:
    """One run of the guard."""

    source: str
    model: str
    distress: list[tuple[float, float]] | None
    settings: GuardSettings
    telling: Telling
    real_time: bool
    as_json: bool
    fired_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Watch until the source ends or the user stops it."""
        model = load_model(self.model)
        guard = Guard(self.settings, model.names, model.group_of)
        self._begin(model.name)
        try:
            self._follow(guard)
        except KeyboardInterrupt:
            pass  # the way to end it
        except Exception:  # whatever it was: somebody must know that nobody watches any more
            self._tell({"event": "stopped", "at": now()})
            raise
        finally:
            try:
                self._end(guard)
            finally:
                self.telling.alerts.finish()

    def _follow(self, guard: Guard) -> None:
        started_s, warned = time.monotonic(), False
        for rows in stream(self.source, model=self.model):
            if self.real_time:
                passed_s = time.monotonic() - started_s
                time.sleep(max(0.0, rows[0]["time_s"] - passed_s))
            self.telling.alerts.tend()
            for event in guard.observe(rows):
                if event.kind != "resume":
                    self.fired_s.append(event.time_s)
                self._tell(event_record(event, now()), event)
                if event.kind == "resume":
                    guard.resume(event.time_s)
            if guard.summary.unwatched_s > _UNWATCHED_S and not warned:
                warned = True
                say_aside("frames come more than a second apart: that time is not watched.")

    def _begin(self, model: str) -> None:
        if host := self.telling.alerts.webhook_host:
            say_aside(f"alerts leave this machine, to {host}: numbers and rules, no image.")
        self._print(self.telling.begin(model, self.settings.to_dict()))
        if not self.as_json:
            typer.echo(f"watching {self.source}; Ctrl-C ends it")
            for rule in self.settings.rules:
                typer.echo(f"  {rule}")

    def _tell(self, record: dict[str, Any], event: Event | None = None) -> None:
        self._print(self.telling.tell(record))
        if event is not None and not self.as_json:
            value = "" if event.value is None else f" ({event.value:.0%})"
            typer.echo(f"{event.time_s:9.1f} s  {event.kind:6}  {event.rule}{value}")

    def _print(self, record: dict[str, Any]) -> None:
        if self.as_json:
            typer.echo(json.dumps(record, ensure_ascii=False))

    def _end(self, guard: Guard) -> None:
        summary = guard.summary
        self._print(self.telling.note({"event": "end", "at": now(), **asdict(summary)}))
        if not self.as_json:
            typer.echo(
                f"watched {summary.watched_s:.1f} s: the child's face was there and sure for "
                f"{summary.sure_s:.1f} s, unsure for {summary.unsure_s:.1f} s, not there for "
                f"{summary.absent_s:.1f} s; not watched {summary.unwatched_s:.1f} s"
            )
            typer.echo(
                f"pauses: {summary.events['pause']} ({summary.paused_s:.1f} s), "
                f"alerts: {summary.events['alert']}"
            )
        if self.distress is not None:
            self._measure(find_events(self.fired_s, self.distress, summary.watched_s))

    def _measure(self, found: Found) -> None:
        self._print(self.telling.note(found_record(found)))
        if not self.as_json:
            for line in found_lines(found):
                typer.echo(line)
