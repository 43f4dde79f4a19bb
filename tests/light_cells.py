"""Cells for the tests of worker processes; each process imports this module, so it is light."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

from moppet.values import MoppetError


def square(cell: int) -> dict[str, Any]:
    return {"cell": cell, "square": cell * cell, "process": multiprocessing.current_process().name}


def refuse(cell: int) -> dict[str, Any]:
    raise MoppetError(f"cell {cell} cannot be.")


def refuse_the_first(cell: int) -> dict[str, Any]:
    if cell == 0:
        raise MoppetError("cell 0 cannot be.")
    time.sleep(0.5)  # still at work when the first one fails
    return square(cell)


def die(cell: int) -> dict[str, Any]:
    os._exit(9)
