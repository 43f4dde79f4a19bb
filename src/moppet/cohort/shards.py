"""Divide recordings among the tasks of a cluster: each is in exactly one shard."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass

from moppet.values import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the recordings. number: 1 to count."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def read(cls, text: str) -> Shard:
        """Return the shard that "3/8" names; UsageError if it names none."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(
                f"--shard takes number/count, from 1/8 to 8/8 for eight parts, got {text!r}."
            )
        return cls(int(found[1]), int(found[2]))

    def indices(self, sizes: Sequence[int]) -> list[int]:
        """Return which recordings are this shard's, in order, so that shards take equally long.

        sizes: of all recordings, in bytes or seconds. The largest come first, each into the shard
        that has least so far. All shards must see the same sizes.
        """
        loads = [(0, 0, shard) for shard in range(self.count)]
        mine = []
        for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
            size, n, shard = heapq.heappop(loads)
            heapq.heappush(loads, (size + sizes[index], n + 1, shard))
            mine += [index] * (shard == self.number - 1)
        return sorted(mine)
