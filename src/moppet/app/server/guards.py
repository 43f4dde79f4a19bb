"""What the guard page asks beside its camera: whether rules can be, whom it calls, its logs."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from moppet.app.alerts import Alerts, Channels
from moppet.app.server.answers import json_of, there
from moppet.app.server.guarding import asked_of
from moppet.infer.catalogue import find_model, read_card
from moppet.timeline.guard import DEFAULT_RULES, Guard, read_log
from moppet.timeline.guard.log import csv_rows

_LOG: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_LISTED: Final = 50


def add_guards(site: FastAPI, folder: Path, channels: Channels) -> None:
    """Answer /api/guard…; folder: of the guards' logs."""

    @site.get("/api/guard")
    def about() -> dict[str, Any]:
        """The default rules, and whom the command line named."""
        commands = {name: getattr(channels, f"on_{name}") for name in ("alert", "pause", "resume")}
        return {
            "rules": list(DEFAULT_RULES),
            "commands": {
                name: Path(shlex.split(command)[0]).name for name, command in commands.items()
                if command
            },
            "webhook": Alerts(channels).webhook_host,
        }  # fmt: skip

    @site.post("/api/guard/check")
    async def check(request: Request) -> dict[str, Any]:
        """Say how rules are understood; 400 and the sentence for one that cannot be."""
        settings = asked_of(await json_of(request)).settings
        card = read_card(find_model())
        Guard(settings, [str(name) for name in card["labels"]], card.get("groups", {}))
        return {"rules": [str(rule) for rule in settings.rules]}

    @site.get("/api/guard/logs")
    def logs() -> list[dict[str, Any]]:
        """The latest sessions, the newest first."""
        paths = sorted((p for p in folder.glob("*.jsonl") if _LOG.fullmatch(p.stem)), reverse=True)
        return [_told(path) for path in paths[:_LISTED]]

    @site.get("/api/guard/logs/{name}.{kind}")
    def log(name: str, kind: str) -> Response:
        if not _LOG.fullmatch(name) or kind not in ("jsonl", "csv"):
            raise HTTPException(404)
        path = there(folder / f"{name}.jsonl")
        if kind == "jsonl":
            return FileResponse(path, media_type="application/jsonl", filename=path.name)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(csv_rows(read_log(path)))
        headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
        return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _told(path: Path) -> dict[str, Any]:
    """Return a log's name, when it began and how often what happened."""
    counts = dict.fromkeys(("pause", "alert", "stopped"), 0)
    at = None
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            at = at or record["at"]
            if record["event"] in counts:
                counts[record["event"]] += 1
    except (OSError, ValueError, TypeError, KeyError):
        return {"name": path.stem, "at": at, "error": f"{path.name} is damaged."}
    return {"name": path.stem, "at": at, "events": counts}
