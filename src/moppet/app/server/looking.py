"""What the look page asks of one recording's timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from moppet.app.server.answers import there
from moppet.app.server.queue import Queue
from moppet.app.server.shown import Shown, shown


def add_looks(site: FastAPI, queue: Queue) -> None:
    def of(number: int) -> Shown:
        return shown(there(Path(queue.job(number).folder) / "timeline.parquet"))

    @site.get("/api/jobs/{number}/look")
    def look(number: int) -> dict[str, Any]:
        return of(number).head()

    @site.get("/api/jobs/{number}/curves")
    def curves(
        number: int, face: int, start_s: float, end_s: float, points: int = 1000
    ) -> dict[str, Any]:
        return of(number).curves(face, start_s, end_s, points)

    @site.get("/api/jobs/{number}/boxes")
    def boxes(number: int, start_s: float, end_s: float) -> list[dict[str, Any]]:
        return of(number).boxes(start_s, end_s)
