"""Rows of a child that cries more or less, and a guard over them."""

from __future__ import annotations

from typing import Any

from moppet.guard import Guard, GuardSettings, parse_rules

NAMES, GROUP_OF = ("joy", "crying", "calm"), {"joy": "positive", "crying": "negative"}
RULE = "negative >= 60 % for 4 s -> pause"
AGAIN = "again within 2 min -> pause and alert"


def face(time_s: float, crying: float, *, face_id: int = 0, side: float = 100, **more: Any) -> dict:
    row = {"time_s": time_s, "face_id": face_id, "status": "ok", "unsure": False}
    row |= {"box_w": side, "box_h": side}
    shown: dict[str, float | None] = {"s_joy": 0.0, "s_crying": crying, "s_calm": 1 - crying}
    return row | shown | more


def empty(time_s: float, status: str = "no_face") -> dict:
    return {"time_s": time_s, "status": status, "face_id": None, "unsure": None}


def make_guard(*rules: str, **options: Any) -> Guard:
    return Guard(GuardSettings(parse_rules(rules or (RULE,)), **options), NAMES, GROUP_OF)
