"""Selectors: the filters of manageable snapshots that the REST API, the client and a server evaluate alike."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from snapmanage import errors
from snapmanage.core.values.text import cut

# Characters of a glob, and wildcards in it: a server compares it with each name of a backend.
LONGEST_GLOB = 255
MOST_WILDCARDS = 8
LARGEST_SIZE_GB = 2**40
_TEXTS = {"name": "name", "source_volume": "source_volume", "origin": "origin", "class_name": "class"}
_SIZES = ("min_size", "max_size")
# The names of the parameters, as the wire has them.
PARAMETERS = (*_TEXTS.values(), *_SIZES, "orphans")


@dataclass(frozen=True)
class Selectors:
    """The selectors of a list; one that is None selects every entry.

    `name` and `source_volume` are globs with `*`, `?` and `[abc]`, whose case counts. A snapshot without a volume has
    no source volume. Sizes are in GiB, both bounds included. `orphans` selects the snapshots without, or with, a
    volume. `origin` and `class_name` ignore the case.
    """

    name: str | None = None
    source_volume: str | None = None
    origin: str | None = None
    class_name: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    orphans: bool | None = None

    def __post_init__(self) -> None:
        for parameter, text in (("name", self.name), ("source_volume", self.source_volume)):
            if text is not None:
                check_glob(parameter, text)
        for parameter, text in (("origin", self.origin), ("class", self.class_name)):
            if text is not None and len(text) > LONGEST_GLOB:
                raise errors.InvalidRequest(f"{parameter} has {len(text)} characters; the limit is {LONGEST_GLOB}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Selectors":
        """Read the result of `as_wire`; raise `InvalidRequest` for a value of a wrong type."""
        for parameter in PARAMETERS:
            kind: type = str if parameter in _TEXTS.values() else int if parameter in _SIZES else bool
            if parameter in given and type(given[parameter]) is not kind:
                raise errors.InvalidRequest(
                    f"{parameter} must be of the type {kind.__name__}, not {cut(repr(given[parameter]))}"
                )
        read = {name: given.get(parameter) for name, parameter in _TEXTS.items()}
        return cls(**read, **{name: given.get(name) for name in (*_SIZES, "orphans")})

    def as_wire(self) -> dict[str, Any]:
        """Return the selectors in use by the names of their parameters, in the types of JSON."""
        given = {_TEXTS.get(each.name, each.name): getattr(self, each.name) for each in fields(self)}
        return {parameter: value for parameter, value in given.items() if value is not None}

    @property
    def need_origin(self) -> bool:
        """Return whether `select_origin` must be called."""
        return self.origin is not None or self.class_name is not None

    def select(self, name: str, size_gb: int, source_volume: str | None) -> bool:
        """Return whether an entry is selected, as far as its origin does not matter."""
        return (
            (self._name is None or self._name.match(name) is not None)
            and (self.min_size is None or size_gb >= self.min_size)
            and (self.max_size is None or size_gb <= self.max_size)
            and (self.orphans is None or self.orphans is (source_volume is None))
            and (self._source is None or (source_volume is not None and self._source.match(source_volume) is not None))
        )

    def select_origin(self, tool: str | None, class_name: str | None) -> bool:
        """Return whether an entry of this origin is selected."""
        return all(
            wanted is None or is_same(wanted, known)
            for wanted, known in ((self.origin, tool), (self.class_name, class_name))
        )

    @cached_property
    def _name(self) -> re.Pattern[str] | None:
        return None if self.name is None else expression(self.name)

    @cached_property
    def _source(self) -> re.Pattern[str] | None:
        return None if self.source_volume is None else expression(self.source_volume)


def expression(glob: str) -> re.Pattern[str]:
    """Return the regular expression of a glob; `translate` gives each `*` an atomic group, so it is never slow."""
    return re.compile(fnmatch.translate(glob))


def is_same(wanted: str, known: str | None) -> bool:
    """Return whether an origin or a class is the wanted one; the case does not count."""
    return known is not None and wanted.casefold() == known.casefold()


def check_glob(parameter: str, glob: str) -> None:
    """Raise `InvalidRequest`, which names the parameter, for a glob that is too long or has too many wildcards."""
    if not 1 <= len(glob) <= LONGEST_GLOB:
        raise errors.InvalidRequest(
            f"{parameter} must have 1 to {LONGEST_GLOB} characters, not {len(glob)}; shorten it"
        )
    if (wildcards := glob.count("*")) > MOST_WILDCARDS:
        raise errors.InvalidRequest(f"{parameter} has {wildcards} *; the limit is {MOST_WILDCARDS}, so use fewer")
