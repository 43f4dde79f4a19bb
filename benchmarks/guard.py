"""What `moppet watch` finds and misses: false alarms an hour, distress missed, delay.

    python benchmarks/guard.py [--clips FOLDER] [--page-only]

The guard reads every recording as `moppet watch` would, with its own default rules (without the
one for nobody), and goes on by itself after a pause. The rules are never chosen by these figures.
An event while the child is in distress, or up to a second after, finds it; any other event is a
false alarm. Intervals (95 %, exact Poisson and binomial) take every event for independent of the
others; those of one child are not, so they are too narrow.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import moppet
from guard_recordings import DISTRESS, Scene, children, plan_recording, write_recording
from moppet.guard import DEFAULT_RULES, Guard, GuardSettings, match_events, parse_rules
from moppet.metrics import Estimate, event_rate, exact_share

HERE = Path(__file__).resolve().parent
RULES = DEFAULT_RULES[:2]
LEVEL = 0.6  # that of the first rule
# Coded by eye, to the half second: an actress cries, then laughs. Nobody else in a clip cries.
CODED = {"WolfgangLanger_Pexels.mp4": [Scene("crying", 0.5, 9.0, distress=True)]}
START = "<!-- figures: made by benchmarks/guard.py -->"
END = "<!-- end of figures -->"


def watch(path: Path, scenes: list[Scene]) -> dict[str, Any]:
    """Return what the guard did over one recording, beside the truth."""
    model = moppet.load_model()
    guard = Guard(GuardSettings(parse_rules(RULES)), model.names, model.group_of)
    fired: list[float] = []
    distress = [scene for scene in scenes if scene.distress]
    seen = {face: {"frames": 0, "at_level": 0, "unsure_at_level": 0} for face in DISTRESS}
    for rows in moppet.stream(path):
        for event in guard.observe(rows):
            if event.kind == "resume":
                guard.resume(event.time_s)
            elif event.time_s not in fired:
                fired.append(event.time_s)
        for scene in distress:
            if scene.start_s <= rows[0]["time_s"] < scene.end_s:
                _count(seen[scene.face], rows[0], model.group_of)
    spans = [(scene.start_s, scene.end_s) for scene in distress]
    found = match_events(fired, spans, guard.summary.watched_s)
    return {
        "watched_s": round(guard.summary.watched_s, 2),
        "unsure_s": round(guard.summary.unsure_s, 2),
        "absent_s": round(guard.summary.absent_s, 2),
        "distress_s": round(sum(scene.end_s - scene.start_s for scene in distress), 2),
        "false_alarms_at_s": [round(t, 2) for t in found.false_alarms_s],
        "distress": [
            {
                "face": scene.face,
                "start_s": round(scene.start_s, 2),
                "end_s": round(scene.end_s, 2),
                "delay_s": None if math.isnan(one.delay_s) else round(one.delay_s, 2),
            }
            for scene, one in zip(distress, found.distress, strict=True)
        ],
        "distress_frames": {face: one for face, one in seen.items() if one["frames"]},
    }


def _count(total: dict[str, int], row: dict[str, Any], group_of: Mapping[str, str]) -> None:
    """Count a frame of distress, whether it is at the rule's level, and whether it is unsure."""
    total["frames"] += 1
    shares = [row.get(f"s_{name}") for name, group in group_of.items() if group == "negative"]
    if None not in shares and sum(shares) >= LEVEL:
        total["at_level"] += 1
        total["unsure_at_level"] += bool(row["unsure"])


def per_hour(count: int, seconds: float) -> dict[str, Any]:
    """Return events an hour with the exact Poisson interval; null without time."""
    hours = seconds / 3600
    rate = event_rate(count, hours)
    return {**_rounded(rate, 2), "n": count, "hours": round(max(hours, 0.0), 4)}


def share(count: int, total: int) -> dict[str, Any]:
    found = _rounded(exact_share(count, total), 3)
    return {**found, "count": count, "n": total} if total else {**found, "n": 0}


def _rounded(estimate: Estimate, digits: int) -> dict[str, float | None]:
    names = ("value", "low", "high")
    values = {name: getattr(estimate, name) for name in names}
    return {name: None if math.isnan(v) else round(v, digits) for name, v in values.items()}


def figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures over some recordings."""
    calm_s = sum(run["watched_s"] - run["distress_s"] for run in runs)
    alarms = sum(len(run["false_alarms_at_s"]) for run in runs)
    shown = [one for run in runs for one in run["distress"]]
    delays = [one["delay_s"] for one in shown if one["delay_s"] is not None]
    return {
        "false_alarms_per_hour": per_hour(alarms, calm_s),
        "missed": share(len(shown) - len(delays), len(shown)),
        "missed_by_face": {
            face: share(
                sum(one["delay_s"] is None for one in shown if one["face"] == face),
                sum(one["face"] == face for one in shown),
            )
            for face in DISTRESS
            if any(one["face"] == face for one in shown)
        },
        "distress_frames": {
            key: sum(one[key] for run in runs for one in run["distress_frames"].values())
            for key in ("frames", "at_level", "unsure_at_level")
        },
        "delay_s": {
            "median": round(statistics.median(delays), 2) if delays else None,
            "max": max(delays, default=None),
            "n": len(delays),
        },
    }


def watch_rendered(folder: Path, only: str | None) -> dict[str, dict[str, Any]]:
    runs = {}
    for number, child in enumerate(children()):
        if only is None or child == only:
            scenes = plan_recording(np.random.default_rng([7, number]))
            path = folder / f"{child}.mp4"
            write_recording(path, child, scenes, np.random.default_rng([8, number]))
            runs[child] = watch(path, scenes)
            print(child, json.dumps(figures([runs[child]])), flush=True)
    return runs


def watch_clips(folder: Path) -> dict[str, dict[str, Any]]:
    """Watch real clips, and the example video, in which no sadness lasts 4 s."""
    found = sorted(p for p in folder.glob("*.m*") if not p.name.startswith("rendered"))
    example = HERE.parent / "examples" / "child.mp4"
    return {path.name: watch(path, CODED.get(path.name, [])) for path in [*found, example]}


def page_of(results: dict[str, Any]) -> str:
    """Return the figures of docs/guides/guard.md."""
    rendered, clips = results["rendered"]["figures"], results["clips"]["figures"]
    both = rendered, clips
    rows = [
        ("", "rendered children", "real clips and the example"),
        ("---", "---", "---"),
        ("false alarms per hour", *(_rate(one["false_alarms_per_hour"]) for one in both)),
        ("distress missed", *(_share(one["missed"]) for one in both)),
    ]
    rows += [(f"… {face}", _share(one), "") for face, one in rendered["missed_by_face"].items()]
    for child, run in results["rendered"]["recordings"].items():
        delays = [one["delay_s"] for one in run["distress"]]
        rows.append((f"… {child}", f"{delays.count(None)} of {len(delays)}", ""))
    frames, delay = rendered["distress_frames"], rendered["delay_s"]
    rows += [
        (
            "frames of distress at the rule's level",
            f"{frames['at_level']} of {frames['frames']}; {frames['unsure_at_level']} unsure",
            "",
        ),
        (
            "delay from the start of distress",
            f"median {_s(delay['median'])}, longest {_s(delay['max'])} (n = {delay['n']})",
            "",
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"Model `{results['model']}`, sha256 {results['model_sha256'][:12]}….\n\n{table}"


def _rate(one: dict[str, Any]) -> str:
    return (
        f"{one['value']:.1f} ({one['low']:.1f}-{one['high']:.1f}; {one['n']} in "
        f"{one['hours'] * 60:.1f} min)"
    )


def _share(one: dict[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return "–"
    return f"{one['value']:.2f} ({one['low']:.2f}-{one['high']:.2f}; {one['count']} of {one['n']})"


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s"


def write_page(page: Path, results: dict[str, Any]) -> None:
    before, rest = page.read_text(encoding="utf-8").split(START)
    _, after = rest.split(END)
    page.write_text(f"{before}{START}\n\n{page_of(results)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=Path, default=HERE.parents[1] / "shared" / "data" / "clips")
    parser.add_argument("--page-only", action="store_true", help="write the page from the results")
    parser.add_argument("--only", help="one rendered child, to try it out; nothing is written")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "guard.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "guides" / "guard.md")
    options = parser.parse_args()
    if options.page_only:
        write_page(options.page, json.loads(options.output.read_text(encoding="utf-8")))
        return
    with tempfile.TemporaryDirectory() as folder:
        rendered = watch_rendered(Path(folder), options.only)
    if options.only:
        return
    clips = watch_clips(options.clips)
    model = moppet.load_model()
    results = {
        "rules": list(RULES),
        "model": model.name,
        "model_sha256": model.sha256,
        "rendered": {"figures": figures(list(rendered.values())), "recordings": rendered},
        "clips": {"figures": figures(list(clips.values())), "recordings": clips},
    }
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(options.page, results)
    print(page_of(results))


if __name__ == "__main__":
    main()
