"""The query parameters in the OpenAPI document, made from the same values that `lists` parses them by."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snapmanage import errors
from snapmanage.api import schemas, versions
from snapmanage.api.lists import CONSUMES_QUOTA, DEFAULT_SORT_KEY, LARGEST_SIZE_GB, TIMES, Shape
from snapmanage.api.versions import MINIMUM, Version
from snapmanage.core.lists import selectors, times
from snapmanage.core.lists.sorting import SORT_KEYS
from snapmanage.core.values.text import cut

_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string"}
_JSON = {"type": "string", "contentMediaType": "application/json"}
_COUNT = {"type": "integer", "minimum": 0}
_GLOB = {"type": "string", "minLength": 1, "maxLength": selectors.LONGEST_GLOB}
_NAME = {"type": "string", "maxLength": selectors.LONGEST_GLOB}
_SIZE = _COUNT | {"maximum": selectors.LARGEST_SIZE_GB}
_MOMENT = {"type": "string", "format": "date-time"}
# Characters of an unknown name that are compared with the known names, and the least ratio of a similar name.
LONGEST_NAME = 64
SIMILARITY = 0.75


@dataclass(frozen=True)
class Parameter:
    """A query parameter; below microversion `since` it is ignored."""

    name: str
    description: str
    schema: Mapping[str, Any]
    since: Version = MINIMUM


def refuse_unknown(given: Iterable[str], known: Sequence[Parameter], lenient: bool) -> None:
    """Raise `InvalidRequest` for a parameter that is not known in any microversion: a filter must not be ignored.

    A name without a letter, such as that of `?_=1`, can't be a filter. With `lenient`, refuse only a name that
    resembles a known one.
    """
    names = [each.name for each in known]
    for name in sorted(each for each in set(given) - set(names) if any(map(str.isalnum, each))):
        similar = difflib.get_close_matches(name[:LONGEST_NAME], names, n=1, cutoff=SIMILARITY)
        meant = f"; did you mean {similar[0]}?" if similar else "."
        if similar or not lenient:
            raise errors.InvalidRequest(
                f"Unknown parameter {cut(name)!r}{meant} The list has the parameters {', '.join(names)}."
            )


def _sort(keys: Iterable[str], default: str) -> tuple[Parameter, ...]:
    """Return the parameter `sort` and its older form, `sort_key` with `sort_dir`."""
    known = list(keys)
    one = f"({'|'.join(re.escape(key) for key in known)})(:(asc|desc))?"
    pattern = {"type": "string", "pattern": f"^{one}(,{one})*$"}
    description = f"KEY:DIRECTION,…; the default is {default}:desc. It can't be combined with sort_key and sort_dir."
    return (
        Parameter("sort", description, pattern),
        Parameter("sort_key", "The older form of sort.", {"type": "string", "enum": known}),
        Parameter("sort_dir", "The older form of sort.", {"type": "string", "enum": ["asc", "desc"]}),
    )


_PAGE = (
    Parameter("limit", "The number of entries on the page; the service reduces it to its own limit.", _COUNT),
    Parameter("offset", "The number of entries to skip.", _COUNT | {"maximum": schemas.LARGEST_OFFSET}),
)
WITH_COUNT = Parameter("with_count", "Return the number of entries on all pages too.", _BOOLEAN, versions.WITH_COUNT)
UNCOUNTED = Parameter("with_count", "Ignored: clients send it to every list, but messages are not counted.", _TEXT)
_MANAGEABLE_PAGE = (
    Parameter("host", "HOST@BACKEND[#POOL], or a HOST with one backend. Required unless cluster is given.", _TEXT),
    Parameter("cluster", "CLUSTER@BACKEND: any server of the cluster answers.", _TEXT, versions.CLUSTERS),
    *_PAGE,
    Parameter("marker", "The last reference of the previous page, as JSON.", _JSON),
    *_sort(SORT_KEYS, "reference"),
    Parameter("name~", "Only entries whose name contains this text, ignoring case.", _TEXT),
    Parameter("safe_to_manage", "Only entries that are, or are not, safe to manage.", _BOOLEAN),
    Parameter("created_before", "Only entries that the backend created before this time.", _MOMENT),
    Parameter("created_after", "Only entries that the backend created after this time.", _MOMENT),
    Parameter("name", "Only entries whose whole name fits this glob (*, ?, [abc]).", _GLOB),
    Parameter("min_size", "Only entries of at least this size in GiB.", _SIZE),
    Parameter("max_size", "Only entries of at most this size in GiB.", _SIZE),
)
MANAGEABLE = (
    *_MANAGEABLE_PAGE,
    Parameter("volume_id", "Only snapshots of this volume.", {"type": "string", "format": "uuid"}),
    Parameter("source_volume", "Only snapshots of volumes whose name on the backend fits this glob.", _GLOB),
    Parameter("origin", "Only snapshots that this tool has made, such as sanoid.", _NAME),
    Parameter("class", "Only snapshots of this class of their tool, such as daily.", _NAME),
    Parameter("orphans", "Only snapshots whose volume is gone, or only those with a volume.", _BOOLEAN),
)
MANAGEABLE_VOLUMES = (*_MANAGEABLE_PAGE,)


ALL_PROJECTS = (
    Parameter(
        "all_tenants", "List the records of all projects; ignored unless the caller is an administrator.", _BOOLEAN
    ),
    Parameter("project_id", "With all_tenants: list the records of this project.", _TEXT),
)
SERVICES = (
    Parameter("host", "Only servers of this HOST@BACKEND, or of this HOST.", _TEXT),
    Parameter("binary", "Only servers of this binary, which is cinder-volume for all of them.", _TEXT),
)
POOLS = (
    Parameter("detail", "Return the capabilities of each pool too.", _BOOLEAN),
    Parameter("name", "Only the pool of this name, HOST@BACKEND#POOL.", _TEXT, versions.POOL_FILTERS),
)
QUOTA_USAGE = (Parameter("usage", "Return limit and usage of each kind.", _BOOLEAN),)
QUOTA_CHECK = (Parameter("skip_validation", "With false: refuse limits below the usage.", _BOOLEAN),)
LIMITS = (
    Parameter(
        "project_id", "Show the limits of this project; for administrators.", _TEXT, versions.LIMITS_OF_A_PROJECT
    ),
    Parameter("tenant_id", "The older form of project_id.", _TEXT, versions.LIMITS_OF_A_PROJECT),
    Parameter("reserved", "Has no effect: openstack sends it, and nothing is reserved here.", _BOOLEAN),
)


def listing(shape: Shape, *more: Parameter, since: Version = MINIMUM) -> tuple[Parameter, ...]:
    """Return the parameters of a list of records and `more`, from microversion `since` on."""
    texts = [name for name, column in shape.filters.items() if column != "size_gb"]
    sizes = [name for name, column in shape.filters.items() if column == "size_gb"]
    made = (
        *_PAGE,
        Parameter("marker", "The id of the last entry of the previous page.", _TEXT),
        *_sort([*shape.sort_keys, *shape.constants], DEFAULT_SORT_KEY),
        *(Parameter(name, "Only entries with this value.", _TEXT) for name in [*texts, *shape.constants]),
        *(Parameter(name, "Only entries of this size in GB.", _COUNT | {"maximum": LARGEST_SIZE_GB}) for name in sizes),
        *(
            Parameter(f"{name}~", "Only entries whose value contains this text.", _TEXT, versions.INEXACT_FILTERS)
            for name in texts
        ),
        *([_METADATA] if shape.metadata else []),
        *([*_PLACED, *_TIMES] if shape.records else []),
        *([_CONSUMES_QUOTA] if shape.records and CONSUMES_QUOTA not in shape.constants else []),
        *ALL_PROJECTS,
        *more,
    )
    return tuple(replace(each, since=max(each.since, since)) for each in made)


_PLACED = (
    Parameter("host", "Only records of this HOST@BACKEND[#POOL]; for administrators.", _TEXT),
    Parameter("reference", "Only records of this reference: the source-name, or the JSON of another reference.", _TEXT),
)
_COMPARISON = f"({'|'.join(times.OPERATORS)}):[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ][0-9:.]+(Z|[+-][0-9:]+)?"
_TIMES = tuple(
    Parameter(
        name,
        "Only records with such a time: OPERATOR:TIME,… with the operators " + ", ".join(times.OPERATORS) + ".",
        {"type": "string", "pattern": f"^{_COMPARISON}(,{_COMPARISON})*$", "examples": ["gte:2026-01-31T12:00:00Z"]},
        versions.TIME_FILTERS,
    )
    for name in TIMES
)
_CONSUMES_QUOTA = Parameter(
    CONSUMES_QUOTA, "Only entries that count, or don't count, for the quota.", _BOOLEAN, versions.CONSUMES_QUOTA
)
_METADATA = Parameter(
    "metadata",
    "Only entries with these metadata: an object with string values.",
    _JSON | {"examples": ['{"key": "value"}']},
)
