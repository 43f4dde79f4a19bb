"""What the tests of pages in a browser share."""

from __future__ import annotations

import time
from typing import Any


def wait_until(page: Any, condition: str, seconds: float = 90) -> None:
    """Ask the page until the JavaScript condition holds.

    page.wait_for_function would evaluate it inside the page, whose own policy forbids that
    unless it holds at the first look.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {condition}"
        page.wait_for_timeout(50)
