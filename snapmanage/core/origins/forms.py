"""Forms of names, such as `nightly-{year}-{month}-{day}_{class}`: a text with `*`, `?` and fields.

A name of another length or alphabet can't make a comparison slow: a form has no nested repetition, each `*` takes the
first text that fits and is never tried again (an atomic group), and a repeated digit is taken once (possessive). The
time grows with the length of the name times the length of the form.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property, lru_cache
from typing import NamedTuple

from snapmanage import errors
from snapmanage.core.values.ids import own_name
from snapmanage.core.values.text import cut

# Characters of a form, and wildcards in it.
LONGEST_FORM = 255
MOST_WILDCARDS = 8
# Characters of a class that a form takes from a name.
LONGEST_CLASS = 64
# Results that a test of many forms keeps.
MOST_RESULTS = 4096

_TOKEN = re.compile(r"\{[^{}]*\}|[{}]|\*|\?|[^{}*?]+")
_TIME_FIELDS = {
    "year": "(?P<year>[0-9]{4})",
    "month": "(?P<month>[0-9]{2})",
    "day": "(?P<day>[0-9]{2})",
    "hour": "(?P<hour>[0-9]{2})",
    "minute": "(?P<minute>[0-9]{2})",
    "second": "(?P<second>[0-9]{2})",
    "offset": "(?P<offset>Z|[+-]?[0-9]{2}:?[0-9]{2})",
}
# These may be in a form several times, since the value isn't used.
_PLAIN_FIELDS = {
    "number": "[0-9]{1,20}+",
    "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
FIELDS = (*_TIME_FIELDS, *_PLAIN_FIELDS, "class")


class Name(NamedTuple):
    """The whole name of an object, and its last part."""

    whole: str
    own: str

    @classmethod
    def of(cls, whole: str) -> "Name":
        return cls(whole, own_name(whole))


@dataclass(frozen=True)
class Fields:
    """The values that a form took from a name; `created_at` is in UTC, None without a whole date."""

    class_name: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class Form:
    """A form of names; `classes` are the texts that the field `{class}` may have, any text if there are none.

    A form with `/` or `@` is compared with the whole name, another form with the last part of VOLUME@NAME or
    FOLDER/NAME.
    """

    text: str
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check(self.text)

    @cached_property
    def is_whole(self) -> bool:
        """Return whether the form is compared with whole names."""
        return "/" in self.text or "@" in self.text

    @cached_property
    def expression(self) -> str:
        """Return the regular expression, whose groups are named like the fields."""
        return _expression(self.text, self.classes)

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.expression, re.DOTALL)

    def read(self, name: Name, zone: tzinfo | None = None) -> Fields | None:
        """Return the values of the fields in a name; None if the name has another form.

        A date that no calendar has is no date of a tool. Times without an offset are in `zone`; without a zone, the
        fields of times are compared only.
        """
        match = self._compiled.fullmatch(name.whole if self.is_whole else name.own)
        if match is None:
            return None
        values = match.groupdict()
        try:
            moment = _moment(values, zone) if values.get("day") else None
        except ValueError:
            return None
        return Fields(values.get("class"), moment)


class AnyForm:
    """A quick test of whether a name may have one of many forms; its expression has no groups.

    The names of a backend often differ in their digits only. Each form treats all digits alike, except for those that
    it spells out, so the results of `MOST_RESULTS` names with their digits replaced are kept.
    """

    def __init__(self, forms: Iterable[Form]) -> None:
        every = list(forms)
        spelled = set("".join(f"{each.text}{''.join(each.classes)}" for each in every))
        alike = "".join(digit for digit in "0123456789" if digit not in spelled)
        self._alike = str.maketrans(alike, alike[:1] * len(alike))
        self._result = lru_cache(MOST_RESULTS)(lambda name: self.matches(Name.of(name)))
        self._whole = _joined(form for form in every if form.is_whole)
        self._own = _joined(form for form in every if not form.is_whole)

    def may_match(self, name: str) -> bool:
        """Like `matches`, for a whole name, with the kept results."""
        return self._result(name.translate(self._alike))

    def matches(self, name: Name) -> bool:
        """Return whether the name may have a form; forms of whole names have a separator."""
        if self._own.fullmatch(name.own):
            return True
        return len(name.own) < len(name.whole) and self._whole.fullmatch(name.whole) is not None


def _joined(forms: Iterable[Form]) -> re.Pattern[str]:
    """Return the expression of several forms; of none, one that nothing matches."""
    plain = (re.sub(r"\(\?P<[a-z]+>", "(?:", form.expression) for form in forms)
    return re.compile("|".join(f"(?:{each})" for each in plain) or "(?!)", re.DOTALL)


def _moment(values: Mapping[str, str | None], zone: tzinfo | None) -> datetime | None:
    given = [int(values.get(name) or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    year, month, day, hour, minute, second = given
    offset = values.get("offset")
    its_zone = _zone(offset) if offset else zone
    moment = datetime(year, month, day, hour, minute, second, tzinfo=its_zone or UTC)
    try:
        return moment.astimezone(UTC) if its_zone else None
    except OverflowError:  # at the ends of the calendar
        return None


def _zone(offset: str) -> tzinfo:
    digits = offset.strip("Z+-").replace(":", "")
    if not digits:
        return UTC
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if offset.startswith("-") else minutes))


def _check(text: str) -> None:
    """Raise `InvalidRequest` if a text is no form."""
    if not text or len(text) > LONGEST_FORM:
        raise errors.InvalidRequest(f"it must have 1 to {LONGEST_FORM} characters, not {len(text)}")
    tokens = _TOKEN.findall(text)
    names = [token[1:-1] for token in tokens if len(token) > 1 and token.startswith("{")]
    for token in tokens:
        if token in ("{", "}"):
            raise errors.InvalidRequest(f"{cut(text)!r} has a brace without its other half")
    for name in names:
        if name not in FIELDS:
            known = ", ".join(f"{{{each}}}" for each in FIELDS)
            raise errors.InvalidRequest(f"{{{cut(name)}}} is no field; the fields are {known}")
        if name not in _PLAIN_FIELDS and names.count(name) > 1:
            raise errors.InvalidRequest(f"{cut(text)!r} has the field {{{name}}} more than once")
    if "day" in names and not {"year", "month"} <= set(names):
        raise errors.InvalidRequest(f"{cut(text)!r} has {{day}} without {{year}} and {{month}}")
    if (wildcards := tokens.count("*")) > MOST_WILDCARDS:
        raise errors.InvalidRequest(f"{cut(text)!r} has {wildcards} *; the limit is {MOST_WILDCARDS}")


def _expression(text: str, classes: Sequence[str]) -> str:
    """Return the regular expression of a form: one part for each `*`, with the text up to the next one."""
    parts = [""]
    for token in _TOKEN.findall(text):
        if token == "*":
            parts.append("(?:.*?)")
        elif token == "{class}" and not classes:
            parts.append(f"(?P<class>.{{1,{LONGEST_CLASS}}}?)")
        else:
            parts[-1] += _atom(token, classes)
    first, *wild = parts
    if not wild:
        return first
    *middle, last = wild
    return f"{first}{''.join(f'(?>{part})' for part in middle)}{last}"


def _atom(token: str, classes: Sequence[str]) -> str:
    if token == "?":
        return "."
    if token == "{class}":
        longest_first = sorted(classes, key=len, reverse=True)
        return f"(?P<class>{'|'.join(re.escape(each) for each in longest_first)})"
    if token.startswith("{"):
        return (_TIME_FIELDS | _PLAIN_FIELDS)[token[1:-1]]
    return re.escape(token)
