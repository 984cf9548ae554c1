"""Check texts and JSON from outside: databases and parsers accept only some of them."""

from collections.abc import Iterator, Mapping
from typing import Any

# Longer texts of errors are cut: a reason may repeat a name that is as long as a request.
LONGEST_REASON = 2000
# Characters of a foreign text that an error repeats.
LONGEST_SHOWN = 300
# Levels around a value in the JSON of a request. A deeper value could not be written as JSON again inside an event.
DEEPEST = 32
# Levels around a value in an event: more than any request makes, and far fewer than a parser refuses.
DEEPEST_EVENT = 64


def readable(text: str) -> str:
    """Return the text as every database keeps it: cut if it is long, with NUL and surrogates escaped."""
    escaped = text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
    return cut(escaped, LONGEST_REASON)


def cut(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Return the text, or its first `longest` characters and a mark that the rest is missing."""
    return text if len(text) <= longest else f"{text[:longest]}…"


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
    stack = [(0, value)]
    while stack:
        level, each = stack.pop()
        yield level, each
        if isinstance(each, Mapping):
            stack.extend((level + 1, key) for key in each)
            stack.extend((level + 1, part) for part in each.values())
        elif isinstance(each, list):
            stack.extend((level + 1, part) for part in each)
