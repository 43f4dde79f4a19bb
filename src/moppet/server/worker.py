"""The process of one job: it reads the task on stdin and reports progress as lines on stdout."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moppet.infer.pipeline import Analysis, Progress, Settings
from moppet.pages.report import write_report
from moppet.timeline import TimelineSettings
from moppet.values import MoppetError

_REPORT_S = 0.2


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Analyze a recording into its folder, resuming from its journal; return the final report."""
    given = task["settings"]
    settings = Settings(**{**given, "timeline": TimelineSettings(**given["timeline"])})
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.arrows"
    analysis = Analysis(task["source"], settings, journal=journal, resume=journal.is_file())
    timeline = analysis.run(_progress_reporter())
    timeline.write(folder / "timeline.parquet")
    write_report(timeline, folder / "report.html")
    journal.unlink(missing_ok=True)
    return {"done": timeline.metadata["frame_count"]}


def _progress_reporter() -> Callable[[Progress], None]:
    """Return what reports the progress a few times a second."""
    next_s = 0.0

    def report(position: Progress) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + _REPORT_S
            total = None if position.total is None else max(position.total, position.frames)
            write_line({"frames": position.frames, "total": total})

    return report


def write_line(line: dict[str, Any]) -> None:
    """Write a line of JSON to stdout."""
    print(json.dumps(line), flush=True)


def main() -> None:
    """Run the task on stdin; exit with 0 and {"done": frames}, or with 1 and {"error": text}."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the server ends its worker
    try:
        write_line(work(json.loads(sys.stdin.read())))
    except MoppetError as error:
        write_line({"error": str(error)})
        sys.exit(1)
    except OSError as error:
        write_line({"error": f"{error.strerror or error}."})
        sys.exit(1)


if __name__ == "__main__":
    main()
