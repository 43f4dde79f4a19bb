"""The queue of recordings: stored in SQLite, processed one by one, resumed after a restart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from moppet.infer.pipeline import Settings
from moppet.server.workspace import Workspace
from moppet.values import MoppetError, UsageError

Json = dict[str, Any]
OPEN: Final = ("queued", "running")
_FORMER_STATES: Final = {"running": "queued", "cancelled": "canceled"}
"""State in a stored queue → its state after a start; 0.1.0 had another spelling."""
WORKER: Final = (sys.executable, "-m", "moppet.server.worker")
_SAVE_S: Final = 0.5


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
        return {name: getattr(self, name) for name in fields}


class Queue:
    """The jobs of a workspace, and the process that runs the oldest queued one.

    A job that was running when the server stopped resumes from its journal at the next start.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._engine = create_engine(f"sqlite:///{workspace.database}")
        _Base.metadata.create_all(self._engine)
        with Session(self._engine) as session, session.begin():
            for former, state in _FORMER_STATES.items():
                session.execute(update(Job).where(Job.state == former).values(state=state))
        self._wake = threading.Condition()
        self._stopping = False
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
        with self._wake, Session(self._engine) as session, session.begin():
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
            found = job.as_json()
            self._wake.notify_all()
        return found

    def jobs(self) -> list[Json]:
        """Return every job, newest first."""
        with Session(self._engine) as session:
            return [job.as_json() for job in session.scalars(select(Job).order_by(Job.id.desc()))]

    def job(self, number: int) -> Job:
        """Return a job; UsageError if there is none."""
        with Session(self._engine) as session:
            job = session.get(Job, number)
            if job is None:
                raise UsageError(f"There is no job {number}.")
            session.expunge(job)
            return job

    def cancel(self, number: int) -> Json:
        """Cancel a queued or running job; finished frames are kept."""
        job = self.job(number)
        if job.state not in OPEN:
            raise UsageError(f"Job {number} is {job.state} already.")
        with self._wake:
            self._set(number, state="canceled", left_s=None, speed=None)
            if self._running and self._running[0] == number:
                self._end_running()
        return self.job(number).as_json()

    def resume(self, number: int) -> Json:
        """Queue a failed or canceled job again; it resumes where it stopped."""
        job = self.job(number)
        if job.state not in ("failed", "canceled"):
            raise UsageError(
                f"Job {number} is {job.state}: only a failed or canceled job can run again."
            )
        with self._wake:
            self._set(number, state="queued", error=None)
            self._wake.notify_all()
        return self.job(number).as_json()

    def delete(self, number: int) -> Json:
        """Delete a finished job, its results, and its recording unless another job uses it.

        A recording outside the workspace is kept. Raises UsageError for a job that is queued or
        running, MoppetError if a file cannot be deleted.
        """
        job = self.job(number)
        if job.state in OPEN:
            raise UsageError(f"Job {number} is {job.state}: cancel it first.")
        if self._running and self._running[0] == number:
            raise UsageError(f"Job {number} is just ending: try again in a moment.")
        source = Path(job.source)
        with self._wake, Session(self._engine) as session, session.begin():
            others = select(Job).where(Job.source == job.source, Job.id != number)
            shared = session.scalars(others).first() is not None
            try:
                if Path(job.folder).is_dir():
                    shutil.rmtree(job.folder)
                if source.parent == self.workspace.recordings and not shared:
                    source.unlink(missing_ok=True)
            except OSError as error:
                raise MoppetError(f"{job.name} cannot be deleted: {error.strerror}.") from None
            session.delete(session.get_one(Job, number))
        return {"deleted": number}

    def _set(self, number: int, *, only_if: Sequence[str] | None = None, **values: Any) -> None:
        with Session(self._engine) as session, session.begin():
            wanted = update(Job).where(Job.id == number).values(**values)
            session.execute(wanted if only_if is None else wanted.where(Job.state.in_(only_if)))

    def _end_running(self) -> None:
        if self._running:
            with suppress(OSError):
                self._running[1].terminate()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._stopping and (job := self._next()) is None:
                    self._wake.wait()
                if self._stopping or job is None:
                    return
                self._set(job.id, state="running", error=None)
                process = subprocess.Popen(
                    WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                self._running = (job.id, process)
            self._follow(job, process)

    def _next(self) -> Job | None:
        with Session(self._engine) as session:
            waiting = select(Job).where(Job.state == "queued").order_by(Job.id)
            job = session.scalars(waiting.limit(1)).first()
            if job is not None:
                session.expunge(job)
            return job

    def _follow(self, job: Job, process: subprocess.Popen[str]) -> None:
        """Store the progress that a worker reports, until it ends."""
        assert process.stdin is not None and process.stdout is not None
        task = {"source": job.source, "folder": job.folder, "settings": json.loads(job.settings)}
        ended: Json = {"error": "its process ended unexpectedly; run it again to resume."}
        with suppress(OSError):
            process.stdin.write(json.dumps(task))
            process.stdin.close()
        began, first, saved = time.monotonic(), None, 0.0
        for line in process.stdout:
            report = json.loads(line)
            if "frames" not in report:
                ended = report
                continue
            first = report["frames"] if first is None else first
            if time.monotonic() - saved < _SAVE_S:
                continue
            saved = time.monotonic()
            speed = (report["frames"] - first) / max(saved - began, 1e-6)
            total = report["total"]
            left = (total - report["frames"]) / speed if total and speed else None
            self._set(
                job.id,
                **report,
                speed=round(speed, 1) or None,
                left_s=None if left is None else round(max(left, 0.0), 1),
            )
        process.wait()
        with self._wake:
            self._running = None
            done = process.returncode == 0 and "error" not in ended
            state = "done" if done else "queued" if self._stopping else "failed"
            error = None if done or self._stopping else ended.get("error")
            values = {"frames": ended["done"], "total": ended["done"]} if done else {}
            self._set(job.id, only_if=["running"], state=state, error=error, left_s=None, **values)
