"""What the label page asks: sets of pictures, one rater's next picture, and then the agreement.

While a set is rated nothing tells of a rating: neither another's nor one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from moppet.app.server.agreeing import Opened, check_rating, open_agreement, opened, progress
from moppet.app.server.answers import json_of
from moppet.app.server.rater import Rater
from moppet.app.server.rating_sets import RatingSet, RatingSets
from moppet.app.server.workspace import Workspace
from moppet.values import EXPRESSIONS, UsageError

Json = dict[str, Any]


def add_label(site: FastAPI, workspace: Workspace) -> None:
    """Add the routes below /api/labels."""
    sets = RatingSets(workspace.root / "labels")
    _add_sets(site, sets)
    _add_rating(site, sets)
    _add_agreement(site, sets)


def _add_sets(site: FastAPI, sets: RatingSets) -> None:
    @site.get("/api/labels")
    def all_sets() -> list[Json]:
        return [_told(sets.of(name)) for name in sets.names()]

    @site.post("/api/labels", status_code=201)
    async def new_set(request: Request) -> Json:
        """Make a set: {"name", "folder"} and "classes", "subject", "seed" or none of them."""
        asked = await json_of(request)
        classes, seed = asked.get("classes", list(EXPRESSIONS)), asked.get("seed", 0)
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise UsageError("The classes are a list of words.")
        if type(seed) is not int:
            raise UsageError("The seed is a whole number.")
        subject = _text(asked, "subject").strip() or None if "subject" in asked else None
        given = (_text(asked, "name"), _text(asked, "folder"), classes, subject, seed)

        def make() -> Json:
            with sets.lock:
                return _told(sets.create(*given))

        return await run_in_threadpool(make)

    @site.get("/api/labels/{name}")
    def one_set(name: str) -> Json:
        return _told(sets.of(name))

    @site.get("/api/labels/{name}/pictures/{picture}")
    def picture(name: str, picture: int) -> Response:
        """The picture as PNG, upright, without name, date or anything else of its file."""
        return Response(sets.of(name).png(picture), media_type="image/png")


def _add_rating(site: FastAPI, sets: RatingSets) -> None:
    async def changed(name: str, change: Callable[[RatingSet], Rater]) -> Json:
        def act() -> Json:
            with sets.lock:
                of = sets.of(name)
                check_rating(of)
                return change(of).state()

        return await run_in_threadpool(act)

    @site.post("/api/labels/{name}/raters", status_code=201)
    async def new_rater(name: str, request: Request) -> Json:
        """Begin to rate: {"name": the rater's}."""
        rater = _text(await json_of(request), "name")
        return await changed(name, lambda of: Rater.begin(of, rater))

    @site.get("/api/labels/{name}/raters/{rater}")
    def state(name: str, rater: str) -> Json:
        return Rater(sets.of(name), rater).state()

    @site.post("/api/labels/{name}/raters/{rater}/ratings")
    async def rate(name: str, rater: str, request: Request) -> Json:
        """Rate the next picture: {"picture": its number} and {"label"} or {"mark"}."""
        asked = await json_of(request)

        def change(of: RatingSet) -> Rater:
            person = Rater(of, rater)
            person.rate(asked.get("picture"), asked.get("label"), asked.get("mark"))
            return person

        return await changed(name, change)

    @site.post("/api/labels/{name}/raters/{rater}/undo")
    async def undo(name: str, rater: str) -> Json:
        def change(of: RatingSet) -> Rater:
            person = Rater(of, rater)
            person.undo()
            return person

        return await changed(name, change)


def _add_agreement(site: FastAPI, sets: RatingSets) -> None:
    @site.post("/api/labels/{name}/open")
    def end_rating(name: str) -> Json:
        with sets.lock:
            open_agreement(sets.of(name))
        return _told(sets.of(name))

    @site.get("/api/labels/{name}/agreement")
    def agreement(name: str) -> Json:
        return Opened(sets.of(name)).as_json()

    @site.post("/api/labels/{name}/decisions")
    async def decide(name: str, request: Request) -> Json:
        """Decide on a disputed picture: {"picture", "label"}; null takes a decision back."""
        asked = await json_of(request)
        if "label" not in asked:
            raise UsageError("A decision needs a label, or null to take it back.")

        def act() -> Json:
            with sets.lock:
                Opened(sets.of(name)).decide(asked.get("picture"), asked["label"])
            return {"picture": asked["picture"], "decided": asked["label"]}

        return await run_in_threadpool(act)

    @site.post("/api/labels/{name}/manifest")
    async def manifest(name: str, request: Request) -> Json:
        """Write manifest.parquet: {} or {"without_rare": true}."""
        without_rare = (await json_of(request)).get("without_rare") is True

        def act() -> Json:
            with sets.lock:
                return Opened(sets.of(name)).write_manifest(without_rare=without_rare)

        return await run_in_threadpool(act)


def _told(of: RatingSet) -> Json:
    """A set as the page shows it: who is how far, and no rating."""
    raters = progress(of)
    return {
        "name": of.name,
        "folder": str(of.folder),
        "classes": list(of.classes),
        "pictures": len(of.pictures),
        "raters": raters,
        "finished": sum(not rater["left"] for rater in raters),
        "opened": list(opened(of)),
    }


def _text(asked: Json, key: str) -> str:
    value = asked.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"The {key} is missing.")
    return value
