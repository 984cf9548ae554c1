"""Report the progress of a command: a bar on a terminal, otherwise a line every ten seconds, or JSON Lines."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from snapmanage.core.values.text import printable

SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Reports that entries are finished, and single events."""

    def advance(self, count: int = 1) -> None: ...

    def event(self, kind: str, **fields: Any) -> None: ...


class LineProgress:
    """A line every ten seconds; single events are not shown."""

    def __init__(self, stream: TextIO, title: str, total: int) -> None:
        self._stream = stream
        self._title = title
        self._total = total
        self._done = 0
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def advance(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            self._stream.write(f"{self._title}: {self._done} of {self._total}\n")
            self._stream.flush()

    def event(self, kind: str, **fields: Any) -> None:
        """Show nothing."""


class JsonProgress:
    """One JSON object for each event."""

    def __init__(self, stream: TextIO, title: str, total: int) -> None:
        self._stream = stream
        self._title = title
        self.event("phase", total=total)

    def advance(self, count: int = 1) -> None:
        """Show nothing: each entry has events of its own."""

    def event(self, kind: str, **fields: Any) -> None:
        value = {"at": datetime.now(UTC).isoformat(), "phase": self._title, "event": kind} | fields
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()


class BarProgress:
    """A bar of rich."""

    def __init__(self, bars: Any, title: str, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=total)

    def advance(self, count: int = 1) -> None:
        self._bars.advance(self._task, count)

    def event(self, kind: str, **fields: Any) -> None:
        """Show nothing."""


class Reporter:
    """Writes to standard error, so that results can be redirected."""

    def __init__(self, stream: TextIO, as_json: bool = False) -> None:
        self._stream = stream
        self._as_json = as_json

    def line(self, text: str) -> None:
        """Write a sentence for a person."""
        if self._as_json:
            JsonProgress(self._stream, "note", 0).event("note", text=text)
        else:
            self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def hint(self, text: str) -> None:
        """Write a sentence that only a person at a terminal needs."""
        if self._stream.isatty() and not self._as_json:
            self.line(text)

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Progress]:
        """Report the progress of `total` entries until the context ends."""
        if self._as_json:
            yield JsonProgress(self._stream, title, total)
        elif not total or not self._stream.isatty():
            yield LineProgress(self._stream, title, total)
        else:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Bars(*columns, console=Console(file=self._stream)) as bars:
                yield BarProgress(bars, title, total)
