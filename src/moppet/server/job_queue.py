"""The queue of recordings: stored in SQLite, processed one by one, resumed after a restart.

A full disk or a damaged row ends no thread and loses no job: what cannot be stored is tried again,
and the page and the terminal show the reason.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from moppet.files import one_line
from moppet.infer.pipeline import Settings
from moppet.server.workspace import Workspace
from moppet.values import MoppetError, UsageError

Json = dict[str, Any]
OPEN: Final = ("queued", "running")
_FORMER_STATES: Final = {"running": "queued", "cancelled": "canceled"}
"""State in a stored queue → its state after a start; 0.1.0 had another spelling."""
WORKER: Final = (sys.executable, "-m", "moppet.server.worker")
_SAVE_S: Final = 0.5
_PAUSES_S: Final = (1.0, 30.0)
"""The first pause after a failure, and the longest: each is twice as long as the last."""
_LARGEST_NUMBER: Final = 2**63 - 1
"""SQLite's largest integer."""
_ENDED: Final = "its process ended unexpectedly; run it again to resume."


class _Base(DeclarativeBase):
    pass


class Job(_Base):
    """One recording to analyze.

    state: "queued", "running", "done", "failed" or "canceled". frames, total: done and expected.
    speed: frames per second; left_s: seconds left; both null while unknown.
    """

    __tablename__ = "jobs"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  numbers are never reused

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    source: Mapped[str]
    name: Mapped[str]
    folder: Mapped[str]
    settings: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    frames: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None] = mapped_column(default=None)
    speed: Mapped[float | None] = mapped_column(default=None)
    left_s: Mapped[float | None] = mapped_column(default=None)
    error: Mapped[str | None] = mapped_column(default=None)
    queued_at: Mapped[str] = mapped_column("asked_at")

    def as_json(self) -> Json:
        """Return the fields that the page shows; the recording's name is the only path in it."""
        fields = ("id", "name", "state", "frames", "total", "speed", "left_s", "error", "queued_at")
        return {name: _plain(getattr(self, name)) for name in fields}

    def task(self) -> Json:
        """Return what the worker needs; MoppetError if the stored row is damaged."""
        try:
            settings = json.loads(self.settings)
        except (TypeError, ValueError, RecursionError):
            settings = None
        if not (isinstance(settings, dict) and self.source and self.folder):
            raise MoppetError("its entry in the queue is damaged: add the recording again.")
        return {"source": str(self.source), "folder": str(self.folder), "settings": settings}


def _plain(value: Any) -> Any:
    """Return a stored value as JSON can hold it: other programs may have written anything."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, int | float | str) else repr(value)


class Queue:
    """The jobs of a workspace, and the process that runs the oldest queued one.

    A job that was running when the server stopped resumes from its journal at the next start.
    Every method raises MoppetError, in one sentence, if the queue cannot be read or written.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._engine = create_engine(f"sqlite:///{workspace.database}")
        with self._stored() as session:
            _Base.metadata.create_all(session.connection())
            for former, state in _FORMER_STATES.items():
                session.execute(update(Job).where(Job.state == former).values(state=state))
            session.execute(select(Job).limit(1)).all()
        self._wake = threading.Condition()
        self._stopping = False
        self._problem: str | None = None
        self._running: tuple[int, subprocess.Popen[str]] | None = None
        self._thread = threading.Thread(target=self._work, name="moppet queue", daemon=True)

    def start(self) -> None:
        """Start to process queued jobs."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the running job; it resumes at the next start."""
        with self._wake:
            self._stopping = True
            self._end_running()
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._engine.dispose()

    def add(self, source: Path, settings: Settings, name: str | None = None) -> Json:
        """Queue a recording and return its job."""
        with self._wake, self._stored() as session:
            job = Job(
                source=str(source),
                name=name or source.name,
                folder="",
                settings=json.dumps(asdict(settings)),
                queued_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            session.add(job)
            session.flush()
            job.folder = str(self.workspace.result_folder(job.id, job.name))
            found = self._about(job)
            self._wake.notify_all()
        return found

    def jobs(self) -> list[Json]:
        """Return every job, newest first; `waiting` is why the queue waits, null if it does not."""
        with self._stored() as session:
            return [
                self._about(job) for job in session.scalars(select(Job).order_by(Job.id.desc()))
            ]

    def about(self, number: int) -> Json:
        """Return a job as `jobs` does; UsageError if there is none."""
        return self._about(self.job(number))

    def job(self, number: int) -> Job:
        """Return a job; UsageError if there is none."""
        with self._stored() as session:
            return _found(session, number)

    def cancel(self, number: int) -> Json:
        """Cancel a queued or running job; finished frames are kept."""
        with self._wake:
            job = self.job(number)
            if job.state not in OPEN:
                raise UsageError(f"Job {number} is {job.state} already.")
            self._set(number, state="canceled", left_s=None, speed=None)
            if self._running and self._running[0] == number:
                self._end_running()
        return self.about(number)

    def resume(self, number: int) -> Json:
        """Queue a failed or canceled job again; it resumes where it stopped."""
        with self._wake:
            job = self.job(number)
            if job.state not in ("failed", "canceled"):
                raise UsageError(
                    f"Job {number} is {job.state}: only a failed or canceled job can run again."
                )
            self._set(number, state="queued", error=None)
            self._wake.notify_all()
        return self.about(number)

    def delete(self, number: int) -> Json:
        """Delete a finished job, its results, and its recording unless another job uses it.

        Files outside the workspace are kept. Raises UsageError for a job that is queued or
        running, MoppetError if a file cannot be deleted.
        """
        with self._wake, self._stored() as session:
            job = _found(session, number)
            if job.state in OPEN:
                raise UsageError(f"Job {number} is {job.state}: cancel it first.")
            if self._running and self._running[0] == number:
                raise UsageError(f"Job {number} is just ending: try again in a moment.")
            others = select(Job).where(Job.source == job.source, Job.id != number)
            shared = session.scalars(others).first() is not None
            source, folder = Path(str(job.source)), Path(str(job.folder))
            try:
                if folder.parent == self.workspace.results and folder.is_dir():
                    shutil.rmtree(folder)
                if source.parent == self.workspace.recordings and not shared:
                    source.unlink(missing_ok=True)
            except OSError as error:
                raise MoppetError(f"{job.name} cannot be deleted: {error.strerror}.") from None
            session.delete(job)
        return {"deleted": number}

    def _about(self, job: Job) -> Json:
        return job.as_json() | {"waiting": self._problem if job.state in OPEN else None}

    @contextmanager
    def _stored(self) -> Iterator[Session]:
        """Give a session, committed at the end; MoppetError if the queue cannot be used."""
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise MoppetError(_reason(error, self.workspace.database)) from None

    def _set(self, number: int, *, only_if: Sequence[str] | None = None, **values: Any) -> None:
        with self._stored() as session:
            wanted = update(Job).where(Job.id == number).values(**values)
            session.execute(wanted if only_if is None else wanted.where(Job.state.in_(only_if)))

    def _end_running(self) -> None:
        if self._running:
            with suppress(OSError):
                self._running[1].terminate()

    # ------------------------------------------------------------------ the thread

    def _work(self) -> None:
        """Run the queued jobs, one after another, until `stop`; nothing else ends it."""
        failures = 0
        while not self._stopping:
            try:
                self._run_next()
                failures = 0
            except Exception as error:
                failures += 1
                self._pause(error, failures)

    def _pause(self, error: Exception, failures: int) -> None:
        """Show why the queue waits, and wait, longer after each failure."""
        if isinstance(error, MoppetError):
            problem = str(error)
        elif isinstance(error, OSError):
            problem = f"The analysis cannot start: {error.strerror or one_line(error)}."
        else:
            problem = f"The queue had an internal error ({type(error).__name__})."
            traceback.print_exception(error)
        self._show(problem)
        first, longest = _PAUSES_S
        with self._wake:
            if not self._stopping:
                self._wake.wait(min(longest, first * 2.0 ** min(failures - 1, 10)))

    def _show(self, problem: str | None) -> None:
        """Keep the reason why the queue waits for the page, and print it when it changes."""
        if problem != self._problem:
            self._problem = problem
            text = f"the queue waits. {problem}" if problem else "the queue continues."
            with suppress(OSError, ValueError):  # no terminal any more
                print(f"moppet: {text}", file=sys.stderr, flush=True)

    def _run_next(self) -> None:
        """Wait for the next queued job, and run it."""
        with self._wake:
            while not self._stopping and (job := self._next()) is None:
                self._show(None)
                self._wake.wait()
            if self._stopping or job is None:
                return
            try:
                task = job.task()
            except MoppetError as error:
                self._set(job.id, state="failed", error=str(error))
                return
            process = subprocess.Popen(
                WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C in the terminal is for the server
            )
            try:
                self._set(job.id, state="running", error=None)
            except MoppetError:
                process.kill()
                process.communicate()
                raise
            self._show(None)
            self._running = (job.id, process)
        self._follow(job.id, task, process)

    def _next(self) -> Job | None:
        with self._stored() as session:
            waiting = select(Job).where(Job.state == "queued").order_by(Job.id)
            return session.scalars(waiting.limit(1)).first()

    def _follow(self, number: int, task: Json, process: subprocess.Popen[str]) -> None:
        """Store the progress that a worker reports, and at the end how it ended."""
        assert process.stdin is not None and process.stdout is not None
        ended: Json = {"error": _ENDED}
        try:
            with suppress(OSError):
                process.stdin.write(json.dumps(task))
                process.stdin.close()
            ended |= self._progress(number, process.stdout)
        except BaseException:
            process.kill()
            raise
        finally:
            with process.stdout:
                process.wait()
            self._store_end(number, ended, process.returncode)

    def _progress(self, number: int, lines: Iterator[str]) -> Json:
        """Store the progress in a worker's lines; return its last report."""
        ended: Json = {}
        began, first, saved = time.monotonic(), None, 0.0
        for line in lines:
            report = _report(line)
            if "frames" not in report:
                ended = {"error": None, **report} if report else ended
                continue
            first = report["frames"] if first is None else first
            if time.monotonic() - saved < _SAVE_S:
                continue
            saved = time.monotonic()
            speed = (report["frames"] - first) / max(saved - began, 1e-6)
            total = report["total"]
            left = (total - report["frames"]) / speed if total and speed else None
            try:
                self._set(
                    number,
                    frames=report["frames"],
                    total=total,
                    speed=round(speed, 1) or None,
                    left_s=None if left is None else round(max(left, 0.0), 1),
                )
                self._show(None)
            except MoppetError as error:  # the analysis goes on: the next report may be stored
                self._show(str(error))
        return ended

    def _store_end(self, number: int, ended: Json, code: int) -> None:
        """Store how a worker ended, tried again until that succeeds or the server stops."""
        done = code == 0 and isinstance(ended.get("done"), int)
        failures = 0
        while True:
            with self._wake:
                state = "done" if done else "queued" if self._stopping else "failed"
                error = str(ended.get("error") or _ENDED) if state == "failed" else None
                values = {"frames": ended["done"], "total": ended["done"]} if done else {}
                try:
                    self._set(
                        number, only_if=["running"], state=state, error=error, left_s=None, **values
                    )
                    self._running = None
                    self._show(None)
                    return
                except MoppetError as reason:
                    if self._stopping:  # the next start queues it again
                        self._running = None
                        return
                    problem = reason
            failures += 1
            self._pause(problem, failures)


def _found(session: Session, number: int) -> Job:
    job = session.get(Job, number) if 0 < number <= _LARGEST_NUMBER else None
    if job is None:
        raise UsageError(f"There is no job {one_line(number, 20)}.")
    return job


def _report(line: str) -> Json:
    """Return a worker's report; {} for a line that is none, such as a library's message."""
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _reason(error: SQLAlchemyError, path: Path) -> str:
    """Return, in one sentence, why the queue's file cannot be used."""
    text = one_line(getattr(error, "orig", None) or error)
    if "disk is full" in text:
        return f"{path} cannot be written: the disk is full. Make room: the queue then continues."
    if "I/O" in text:
        return f"{path} cannot be read or written ({text}): check the disk."
    if "readonly" in text or "unable to open" in text:
        return f"{path} cannot be written: check its rights and those of its folder."
    if "locked" in text:
        return f"{path} is in use by another program, such as another moppet serve."
    return (
        f"{path} is damaged ({text}). Move it to another place: the recordings and results beside "
        "it stay, and a new queue begins."
    )
