"""A job's own process: a recording in on stdin, its progress and its end as lines on stdout."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from moppet.infer.pipeline import Analysis, Progress, Settings
from moppet.pages.report import write_report
from moppet.timeline import TimelineSettings
from moppet.values import MoppetError

_TELL_S = 0.2


def work(asked: dict[str, Any]) -> dict[str, Any]:
    """Analyse a recording into its folder, going on from its journal; return what to say of it."""
    told = asked["settings"]
    settings = Settings(**{**told, "timeline": TimelineSettings(**told["timeline"])})
    folder = Path(asked["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.arrows"
    analysis = Analysis(asked["source"], settings, journal=journal, resume=journal.is_file())
    timeline = analysis.run(_Teller())
    timeline.write(folder / "timeline.parquet")
    write_report(timeline, folder / "report.html")
    journal.unlink(missing_ok=True)
    return {"done": timeline.metadata["frame_count"]}


class _Teller:
    """Says how far it is, a few times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, position: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_S
            total = None if position.total is None else max(position.total, position.frames)
            say({"frames": position.frames, "total": total})


def say(line: dict[str, Any]) -> None:
    """Write a line of JSON."""
    print(json.dumps(line), flush=True)


def main() -> None:
    """Work on what stdin asks for. Ends with 0 and a line {"done": frames}, or {"error": text}."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's Ctrl-C: it ends its worker itself
    try:
        say(work(json.loads(sys.stdin.read())))
    except MoppetError as error:
        say({"error": str(error)})
        sys.exit(1)
    except OSError as error:
        say({"error": f"{error.strerror or error}."})
        sys.exit(1)


if __name__ == "__main__":
    main()
