"""A temporary file of many values in a sorted order, so that memory holds only a few of them at once."""

import heapq
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Any, Generic, Self, TypeVar

T = TypeVar("T")
# Values in memory, and in one sorted part of the file.
PART = 5000


class Spool(Generic[T]):
    """Values that are added in any order, and read in the order of `key` as often as needed.

    The files have no name, so they vanish with the process, and no other program can write to them.
    """

    def __init__(self, key: Callable[[T], Any], part: int = PART) -> None:
        self._key = key
        self._part = part
        self._pending: list[T] = []
        self._files: list[IO[bytes]] = []
        self._open = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __len__(self) -> int:
        return self._count

    def add(self, value: T) -> None:
        self._count += 1
        self._pending.append(value)
        if len(self._pending) >= self._part:
            self._write()

    def __iter__(self) -> Iterator[T]:
        """Yield the values in order; add none meanwhile. One iteration at a time, since the parts share their files."""
        self._pending.sort(key=self._key)
        return heapq.merge(*map(_read, self._files), self._pending, key=self._key)

    def _write(self) -> None:
        file = self._open.enter_context(TemporaryFile())  # noqa: SIM115 - the stack closes it
        for value in sorted(self._pending, key=self._key):
            pickle.dump(value, file)
        self._files.append(file)
        self._pending = []


def _read(file: IO[bytes]) -> Iterator[Any]:
    file.seek(0)
    while True:
        try:
            value = pickle.load(file)
        except EOFError:
            return
        yield value


def parts_of(values: Iterator[T], size: int) -> Iterator[Sequence[T]]:
    """Yield lists of up to `size` values that follow one another."""
    part: list[T] = []
    for value in values:
        part.append(value)
        if len(part) >= size:
            yield part
            part = []
    if part:
        yield part
