"""The arguments of commands: printable texts, and numbers with bounds."""

import argparse
import re
from collections.abc import Callable, Sequence

from snapmanage import errors
from snapmanage.core.audit.chain import LONGEST_NUMBER
from snapmanage.core.values.text import cut, printable

# The largest limit that a command accepts; every database counts further.
LARGEST = 2**31 - 1
# The largest number of a row of the audit log.
MOST_ROWS = 10**LONGEST_NUMBER - 1
LONGEST_NAME = 255
# The longest path that Linux accepts.
LONGEST_ARGUMENT = 4096
# 31 years: the time so many seconds ago can still be computed.
MOST_SECONDS = 10**9

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def require_printable(arguments: Sequence[str]) -> None:
    """Raise `InvalidRequest` unless every argument is printable text of at most `LONGEST_ARGUMENT` characters.

    A library would print other characters as they are, and the database would refuse bytes that are not UTF-8.
    """
    for place, argument in enumerate(arguments, 1):
        if len(argument) > LONGEST_ARGUMENT:
            raise errors.InvalidRequest(
                f"argument {place} has {len(argument)} characters: it must have at most {LONGEST_ARGUMENT}"
            )
        if not argument.isprintable():
            raise errors.InvalidRequest(
                f"argument {place}, '{cut(printable(argument))}', must be printable text in the encoding of the "
                "terminal: remove control characters, line breaks and other invisible characters"
            )


def whole_number(least: int, most: int, meaning: str = "number", unlimited: int | None = None) -> Callable[[str], int]:
    """Return the type of an argument with a whole number from `least` to `most`; `unlimited` is also accepted."""

    def convert(text: str) -> int:
        value = int(text) if _WHOLE_NUMBER.fullmatch(text) else None
        if value is None or not (least <= value <= most or value == unlimited):
            or_unlimited = "" if unlimited is None else f", or {unlimited} for no limit"
            raise argparse.ArgumentTypeError(
                f"must be a {meaning} from {least} to {most}{or_unlimited}, not {cut(text)!r}"
            )
        return value

    return convert


def name(text: str) -> str:
    """Return the name of an object, or a reason, as every database keeps it."""
    if not 0 < len(text) <= LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"must have 1 to {LONGEST_NAME} characters, not {len(text)}")
    return text


def seconds(text: str) -> float:
    """Return the seconds that an argument has: 0 or more, and fewer than `MOST_SECONDS`."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"must be a number of seconds from 0 to less than {MOST_SECONDS}, not {cut(text)!r}"
        )
    return value
