"""Cells of CSV files: one line each, no formulas for a spreadsheet, and read again as exactly the same texts."""

import re

from snapmanage.core.values.text import printable

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ESCAPE = re.compile(r"\\(?:[\\tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})")
_SHORT = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def cell(text: str) -> str:
    """Return the cell for a text: escaped, and with an apostrophe before it if it could be a formula."""
    return guarded(escaped(text))


def text_of(value: str) -> str:
    """Return the text that `cell` was given; a cell that a person has typed is taken literally if it has no escape."""
    return unescaped(unguarded(value))


def guarded(text: str) -> str:
    """Return the text with an apostrophe before it if it could be a formula, as a spreadsheet shows it."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unguarded(text: str) -> str:
    """Return the text that `guarded` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def escaped(text: str) -> str:
    r"""Return the text with an escape such as `\n` for each character that is not printable.

    Backslashes are doubled only in such a text, and in one that `unescaped` would change.
    """
    return text if text.isprintable() and unescaped(text) == text else _all_escaped(text)


def unescaped(text: str) -> str:
    r"""Return the text that `escaped` was given.

    A text that `escaped` never returns, such as `disk\x2d1`, stays as it is.
    """
    found = _ESCAPE.sub(lambda matched: _character(matched[0]), text)
    return found if _all_escaped(found) == text else text


def _all_escaped(text: str) -> str:
    return printable(text.replace("\\", "\\\\"))


def _character(escape: str) -> str:
    return _SHORT.get(escape) or chr(int(escape[2:], 16))
