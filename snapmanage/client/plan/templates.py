"""Fill the templates of names and metadata with the facts of a snapshot."""

import re
from collections.abc import Callable, Mapping

from snapmanage import errors
from snapmanage.client.selection.found import Found
from snapmanage.core.values.text import cut, printable

LONGEST = 255
_FIELD = re.compile(r"\{([^{}]*)\}")
_FIELDS: Mapping[str, Callable[[Found], str | None]] = {
    "name": lambda found: found.own_name,
    "source": lambda found: found.name,
    "volume": lambda found: found.parent,
    "host": lambda found: found.host,
    "origin": lambda found: found.origin,
    "class": lambda found: found.origin_class,
    "description": lambda found: found.description,
    "date": lambda found: f"{found.made_at:%Y%m%d}" if found.made_at else None,
    "time": lambda found: f"{found.made_at:%H%M%S}" if found.made_at else None,
}


def check(option: str, template: str) -> None:
    """Raise `InvalidRequest` if a template names a field that does not exist."""
    for name in _FIELD.findall(template):
        if name not in _FIELDS:
            raise errors.InvalidRequest(
                f"{option} has the unknown field {cut(repr(name))}; the fields are {', '.join(sorted(_FIELDS))}"
            )


def fill(template: str, found: Found) -> str:
    """Return the text with the facts of a snapshot, printable and cut to 255 characters; unknown facts are empty."""
    text = _FIELD.sub(lambda matched: _FIELDS[matched[1]](found) or "", template)
    return printable(text)[:LONGEST].strip()
