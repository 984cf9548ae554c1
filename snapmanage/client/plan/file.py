"""Read and write a plan line by line."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from snapmanage import errors
from snapmanage.client.plan.entries import Entry, Header, entry_of
from snapmanage.core.values.text import readable

# Characters of a line. A reference has at most 65,536 and the metadata 128 pairs of 255.
LONGEST_LINE = 1 << 20


class PlanFile:
    """A plan on disk; each iteration reads it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = self._header()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries; raise `InvalidRequest`, which names the line, for a line of another form."""
        with _lines(self.path) as lines:
            next(lines, None)
            for number, value in lines:
                try:
                    yield entry_of(value)
                except (errors.InvalidRequest, TypeError, ValueError, OverflowError) as error:
                    raise _wrong(self.path, number, error) from None

    def _header(self) -> Header:
        with _lines(self.path) as lines:
            number, first = next(lines, (1, {}))
        try:
            return Header.of_json(first)
        except (errors.InvalidRequest, TypeError, ValueError, OverflowError) as error:
            raise _wrong(self.path, number, error) from None


def write_line(file: IO[str], value: Mapping[str, Any]) -> None:
    file.write(json.dumps(value, separators=(",", ":")) + "\n")


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[tuple[int, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield _values(path, file)
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest(f"{readable(str(path))} can't be read: {_reason(error)}") from error


def _values(path: Path, file: IO[str]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line; empty lines are skipped."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if line.strip():
            yield number, _value(path, number, line)


def _value(path: Path, number: int, line: str) -> Mapping[str, Any]:
    if len(line) >= LONGEST_LINE:
        raise _wrong(path, number, ValueError(f"the line has {LONGEST_LINE} characters or more"))
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise _wrong(path, number, ValueError("the line is not JSON")) from None
    if not isinstance(value, dict):
        raise _wrong(path, number, ValueError("the line must be a JSON object"))
    return value


def _wrong(path: Path, number: int, error: Exception) -> errors.InvalidRequest:
    return errors.InvalidRequest(readable(f"{path} line {number}: {error}"))


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
