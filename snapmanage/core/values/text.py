"""Check and escape texts and JSON from outside: databases, parsers, logs and terminals accept only some of them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

# Longer texts of errors are cut: a reason may repeat a name that is as long as a request.
LONGEST_REASON = 2000
# Characters of a foreign text that an error repeats.
LONGEST_SHOWN = 300
# Levels around a value in the JSON of a request. A deeper value could not be written as JSON again inside an event.
DEEPEST = 32
# Levels around a value in an event: more than any request makes, and far fewer than a parser refuses.
DEEPEST_EVENT = 64


def printable(text: str) -> str:
    r"""Return the text with an escape such as `\n` or `\x1b` for each character that is not printable.

    These are the characters that `repr` escapes: controls, formats such as the bidi controls, surrogates, unassigned
    ones, and every separator but the blank. A backslash stays as it is, so that a text may be escaped twice: a reason
    is escaped when it is written, and again when it is printed.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def readable(text: str) -> str:
    """Return a sentence for a person, printable and cut if it is long; the parts of it may come from outside."""
    return cut(printable(text[: LONGEST_REASON + 1]), LONGEST_REASON)


def as_storable(text: str) -> str:
    """Return data as every database keeps it: cut if it is long, with NUL and surrogates escaped."""
    escaped = text[: LONGEST_REASON + 1].encode(errors="backslashreplace").decode().replace("\0", "\\x00")
    return cut(escaped, LONGEST_REASON)


def cut(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Return the text, or its first `longest` characters and a mark that the rest is missing."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def numbered(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as `1 snapshot` or `2 snapshots`; `many` is the plural if not `one` and s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def time_text(moment: datetime) -> str:
    """Return a time in UTC in the format of the Block Storage API, which has no time zone."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def storable(text: str) -> bool:
    """Return whether every database keeps the text unchanged: Unicode without NUL and without lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield a JSON value and every value and key inside it, each with the number of objects and lists around it.

    The function does not recurse: a value from outside may have any depth.
    """
    stack: list[Iterator[Any]] = [iter([value])]  # one for each level, so that a long list costs nothing in advance
    while stack:
        for each in stack[-1]:
            yield len(stack) - 1, each
            if isinstance(each, Mapping):
                stack.append(chain(each, each.values()))
                break
            if isinstance(each, list):
                stack.append(iter(each))
                break
        else:
            stack.pop()
