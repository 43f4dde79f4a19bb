"""What a page says: its text without mark-up, and the numbers of what it was made from."""

from __future__ import annotations

import re
from html import unescape
from typing import Any


def text_of(page: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def numbers_in(values: Any) -> set[float]:
    if isinstance(values, dict):
        return set().union(*map(numbers_in, values.values())) if values else set()
    if isinstance(values, list):
        return set().union(*map(numbers_in, values)) if values else set()
    return {values} if isinstance(values, int | float) and not isinstance(values, bool) else set()
