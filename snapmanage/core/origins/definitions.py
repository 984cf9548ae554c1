"""Patterns that an operator adds in a file: each key and value is checked, and an error names the entry."""

from collections.abc import Mapping, Sequence
from typing import Any

from snapmanage import errors
from snapmanage.core.origins.forms import LONGEST_CLASS, Form
from snapmanage.core.origins.patterns import Clock, Pattern, Rename
from snapmanage.core.values.text import cut, storable

# Each name of a list that is filtered by tool or class is compared with every pattern.
MOST_ENTRIES = 100
MOST_TEXTS = 20
LONGEST_TEXT = 255
_REQUIRED = ("tool", "names", "rename", "why")
_OPTIONAL = ("drivers", "parents", "orphans", "classes", "class", "time", "requires")


def read(value: Any, builtin: Sequence[Pattern]) -> list[Pattern]:
    """Return the patterns of a file's content, before the built-in ones that the file does not disable.

    Raise `InvalidRequest`, whose text names the wrong entry and the remedy.
    """
    content = {} if value is None else value
    if not isinstance(content, Mapping) or not set(content) <= {"origins", "disable"}:
        raise errors.InvalidRequest("the file must have the keys origins (a list of entries) and disable (of tools)")
    entries = [] if content.get("origins") is None else content["origins"]
    if not isinstance(entries, list) or len(entries) > MOST_ENTRIES:
        raise errors.InvalidRequest(f"origins must be a list of at most {MOST_ENTRIES} entries")
    own = [_entry(number, entry) for number, entry in enumerate(entries, 1)]
    known = {pattern.tool for pattern in builtin}
    disabled = _texts("disable", content.get("disable"))
    if unknown := sorted(set(disabled) - known):
        tools = ", ".join(sorted(known))
        raise errors.InvalidRequest(f"disable names {cut(unknown[0])!r}, but the built-in tools are {tools}")
    return [*own, *(pattern for pattern in builtin if pattern.tool not in disabled)]


def _entry(number: int, entry: Any) -> Pattern:
    try:
        return _pattern(entry)
    except errors.InvalidRequest as error:
        tool = entry.get("tool") if isinstance(entry, Mapping) else None
        named = f" ({cut(tool)})" if isinstance(tool, str) else ""
        raise errors.InvalidRequest(f"entry {number} of origins{named}: {error}") from None


def _pattern(entry: Any) -> Pattern:
    if not isinstance(entry, Mapping):
        raise errors.InvalidRequest(f"it must have the keys {', '.join(_REQUIRED)}, not be {cut(repr(entry))}")
    if unknown := [key for key in entry if key not in (*_REQUIRED, *_OPTIONAL)]:
        keys = ", ".join((*_REQUIRED, *_OPTIONAL))
        raise errors.InvalidRequest(f"it has the unknown key {cut(repr(unknown[0]))}; the keys are {keys}")
    if missing := [key for key in _REQUIRED if not entry.get(key)]:
        raise errors.InvalidRequest(f"{missing[0]} is missing or empty; give it a value")
    classes, class_name = _texts("classes", entry.get("classes")), entry.get("class")
    if classes and class_name is not None:
        raise errors.InvalidRequest("it has class and classes; give only one of them")
    orphans, parents = _boolean("orphans", entry.get("orphans", False)), _forms("parents", entry.get("parents"))
    if orphans and not parents:
        raise errors.InvalidRequest("orphans has no effect without parents; add parents, or leave it out")
    return Pattern(
        tool=_text("tool", entry["tool"]),
        names=_forms("names", entry["names"], classes),
        rename=Rename(_one_of("rename", entry["rename"], [each.value for each in Rename])),
        why=_text("why", entry["why"]),
        drivers=frozenset(_texts("drivers", entry.get("drivers"))),
        class_name=None if class_name is None else _text("class", class_name, LONGEST_CLASS),
        clock=Clock(_one_of("time", entry.get("time", "utc"), [each.value for each in Clock])),
        parents=parents,
        orphans=orphans,
        requires=None if entry.get("requires") is None else _text("requires", entry["requires"]),
    )


def _forms(key: str, value: Any, classes: Sequence[str] = ()) -> tuple[Form, ...]:
    made = []
    for text in _texts(key, value):
        try:
            made.append(Form(text, classes))
        except errors.InvalidRequest as error:
            raise errors.InvalidRequest(f"{key}: {error}") from None
    return tuple(made)


def _texts(key: str, value: Any) -> list[str]:
    """Return a list of texts; a single text is a list of one."""
    given = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(given, list) or len(given) > MOST_TEXTS:
        raise errors.InvalidRequest(f"{key} must be a text, or a list of at most {MOST_TEXTS} texts")
    return [_text(key, each) for each in given]


def _text(key: str, value: Any, longest: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not storable(value) or not value.isprintable():
        raise errors.InvalidRequest(
            f"{key} must be a printable text of 1 to {longest} characters, not {cut(repr(value))}; quote it in YAML"
        )
    return value


def _one_of(key: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise errors.InvalidRequest(f"{key} must be one of {', '.join(known)}, not {cut(repr(value))}")
    return str(value)


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise errors.InvalidRequest(f"{key} must be true or false, not {cut(repr(value))}")
    return value
