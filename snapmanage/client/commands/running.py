"""The common part of `apply` and `undo`: their options, the typed yes, and their exit codes."""

import argparse
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from snapmanage import errors
from snapmanage.client.api.http import Api, Interrupted
from snapmanage.client.events import Reporter
from snapmanage.client.work.interruption import answering, stopping, wait_until_readable
from snapmanage.core.values.text import cut

# 1 is an error before anything has started.
ALL_DONE, SOME_FAILED, UNFINISHED, BY_SIGNAL = 0, 2, 3, 130
MOST_PARALLEL = 32
# Characters of the first line of an input.
LONGEST_ANSWER = 80
_LIMIT = re.compile(r"(\d{1,9})(%?)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parallel", type=_threads, default=8, metavar="N", help="requests at a time, 1 to 32 (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="exit with 3 after this time; run the command again later"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before the first request")
    parser.add_argument(
        "--log-json", action="store_true", help="write one JSON object for each event to standard error"
    )


def max_errors(text: str) -> Callable[[int], int]:
    """Return the function from the number of entries to the limit of `--max-errors N` or `P%`."""
    matched = _LIMIT.fullmatch(text)
    if matched is None:
        raise argparse.ArgumentTypeError(f"{cut(repr(text))} must be a number or a percentage, such as 10 or 5%")
    number, percent = int(matched[1]), matched[2]
    return lambda entries: entries * number // 100 if percent else number


def _threads(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_PARALLEL:
        raise argparse.ArgumentTypeError(f"{cut(repr(text))} must be a number from 1 to {MOST_PARALLEL}")
    return int(text)


def seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 < found < 1e9:
        raise argparse.ArgumentTypeError(f"{cut(repr(text))} must be a number of seconds above 0")
    return found


def require_yes(is_confirmed: bool, reporter: Reporter, stdin: TextIO | None) -> None:
    """Raise `InvalidRequest` unless `--yes` is given, or the first line of the input is yes."""
    if is_confirmed:
        return
    with answering():
        reporter.line("Type yes to start:")
        answer = _answer(stdin)
    if answer != "yes":
        raise errors.InvalidRequest("nothing was started; type yes, pipe it (echo yes | snapmanage …), or add --yes")


def _answer(stdin: TextIO | None) -> str:
    """Return the first line of an input without blanks around it; empty for one that is closed, or not text."""
    if stdin is None:
        return ""
    with suppress(io.UnsupportedOperation):  # an input without a descriptor, in memory, never blocks
        wait_until_readable(stdin)
    try:
        return stdin.readline(LONGEST_ANSWER).strip()
    except UnicodeDecodeError:
        return ""


@dataclass
class Ending:
    """The exit code of a command, which an interruption may set."""

    code: int = ALL_DONE
    reasons: list[str] = field(default_factory=list)


@contextmanager
def resumable(api: Api, reporter: Reporter, command: str) -> Iterator[Ending]:
    """Let a command be interrupted: it ends with the code 130 or 3, and a line that says how to continue."""
    ending = Ending()
    try:
        with stopping(api.stop):
            yield ending
    except errors.Unavailable as error:
        ending.code = BY_SIGNAL if isinstance(error, Interrupted) else UNFINISHED
        reporter.line(f"{error}; continue with: {command}")
