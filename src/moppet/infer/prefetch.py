"""Compute the items of an iterator ahead of their use, in a thread, a bounded number at a time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_POLL_S: Final = 0.2  # a wait without limit cannot be interrupted from the keyboard on Windows


class Prefetcher(Generic[T]):
    """Iterates over an iterator's items, in order, while a thread computes the next ones.

    items: the iterator; only the thread uses it, and closes it if it is a generator.
    depth: number of items that are held ready at most, at least 1.
    An exception of the iterator is raised where its item would have been. Close the prefetcher to
    end the thread.
    """

    def __init__(self, items: Iterator[T], depth: int = 1) -> None:
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._items = items
        self._thread = threading.Thread(target=self._compute, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while True:
            if self._stop.is_set():
                raise StopIteration
            with contextlib.suppress(queue.Empty):
                kind, value = self._ready.get(timeout=_POLL_S)
                break
        if kind == "item":
            return value  # type: ignore[no-any-return]
        self.close()
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> None:
        """End the thread, after the item on which it works."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _compute(self) -> None:
        try:
            for item in self._items:
                self._put("item", item)
                del item  # a chunk of frames is not kept while the next one is computed
                if self._stop.is_set():
                    break
            end: tuple[str, Any] = ("end", None)
        except BaseException as error:  # raised again where the item was wanted
            end = ("error", error)
        if isinstance(self._items, Generator):
            self._items.close()
        self._put(*end)

    def _put(self, kind: str, value: Any) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put((kind, value), timeout=_POLL_S)
                return
