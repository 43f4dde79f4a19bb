"""CONTRIBUTING.md lists every room of the source tree with its rank."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from test_layers import RANKS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "moppet"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rooms_in_table(text: str) -> dict[str, int]:
    """Return room → rank of the table: rank in the first column, rooms in backticks in the second.

    `values.py` and `media/` are listed as `values` and `media`, as in RANKS.
    """
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    return {
        re.sub(r"\.py$|/$", "", room): int(rank)
        for rank, rooms in rows
        for room in re.findall(r"`([^`]+)`", rooms)
    }


def test_the_table_has_the_rooms_and_ranks_of_the_layer_test() -> None:
    assert rooms_in_table(TEXT) == RANKS


def test_every_room_in_the_table_is_in_the_source_tree() -> None:
    listed = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| \d+ \| ([^|]+) \|", TEXT, re.M)))
    assert listed
    missing = [
        room
        for room in listed
        if not ((SOURCE / room).is_dir() if room.endswith("/") else (SOURCE / room).is_file())
    ]
    assert missing == []


@pytest.mark.parametrize("row", ["| 3 | `guard/` | x |", "| 2 | `coders/`, `guard/` | x |"])
def test_the_table_reader_sees_every_room_and_its_rank(row: str) -> None:
    rooms = rooms_in_table(row)
    assert rooms["guard"] == int(row[2])
    assert len(rooms) == row.count("/")
