"""The process of one job: it reads the task on stdin and reports progress as lines on stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moppet.files import one_line, write_text
from moppet.infer.pipeline import Analysis, Progress, Settings
from moppet.pages.report import write_report
from moppet.server.workspace import claim_folder
from moppet.timeline import TimelineSettings
from moppet.values import MoppetError

_REPORT_S = 0.2


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Analyze a recording into its folder, resuming from its journal; return the final report."""
    given = task["settings"]
    settings = Settings(**{**given, "timeline": TimelineSettings(**given["timeline"])})
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    claim_folder(folder, wait=True)  # the worker of a killed server may not have ended yet
    journal = folder / "journal.arrows"
    analysis = Analysis(task["source"], settings, journal=journal, resume=journal.is_file())
    timeline = analysis.run(_progress_reporter())
    timeline.write(folder / "timeline.parquet")
    if timeline.photos:
        timeline.write_photos(folder / "photos.csv")
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
    """Run the task on stdin; exit with 0 and {"done": frames}, or with 1 and {"error": text}.

    If the server is gone, the process ends without a word: the next server resumes the job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the server ends its worker
    try:
        task = sys.stdin.read()
        if not task:
            os._exit(1)
        report = _report(json.loads(task))
        write_line(report)
    except BrokenPipeError:
        os._exit(1)  # without the error that closing stdout would raise again
    sys.exit("error" in report)


def _report(task: dict[str, Any]) -> dict[str, Any]:
    """Return the final report of a task; an unexpected error is logged in its folder."""
    try:
        return work(task)
    except MoppetError as error:
        return {"error": str(error)}
    except BrokenPipeError:
        raise
    except OSError as error:
        return {"error": f"{error.strerror or one_line(error)}."}
    except Exception as error:
        told = f"it could not be analyzed ({type(error).__name__}: {one_line(error)})."
        try:
            log = write_text(
                Path(task["folder"]) / "error.log", "".join(traceback.format_exception(error))
            )
        except (MoppetError, OSError):
            return {"error": f"{told} Please report this."}
        return {"error": f"{told} Please report this with {log}."}


if __name__ == "__main__":
    main()
