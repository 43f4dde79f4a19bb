"""A prefetcher gives what its iterator gives, computes no more than it may, and ends its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from moppet.infer.prefetch import Prefetcher


def test_items_come_in_order_and_then_end():
    assert list(Prefetcher(iter(range(50)))) == list(range(50))
    assert list(Prefetcher(iter(()))) == []


def test_items_are_computed_in_another_thread_a_few_ahead_at_most():
    begun: list[int] = []
    threads = set()

    def items() -> Iterator[int]:
        for number in range(10):
            begun.append(number)
            threads.add(threading.current_thread())
            yield number

    ahead = Prefetcher(items(), depth=2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 10
    while len(begun) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert begun == [0, 1, 2, 3]  # one was taken, two are ready, one waits for a place
    assert threading.current_thread() not in threads
    assert list(ahead) == list(range(1, 10))


def test_an_error_comes_where_its_item_would_have_been():
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no second one")

    ahead = Prefetcher(items())
    assert next(ahead) == 1
    with pytest.raises(LookupError, match="no second one"):
        next(ahead)


def test_closing_ends_the_thread_and_closes_the_iterator():
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    inner = Prefetcher(items())
    outer = Prefetcher(number + 1 for number in inner)
    assert next(outer) == 1
    outer.close()
    inner.close()
    assert closed.is_set() and threading.active_count() == before
    assert list(outer) == []
