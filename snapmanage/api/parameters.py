"""The query parameters in the OpenAPI document, made from the same values that `lists` parses them by."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from snapmanage.api import schemas, versions
from snapmanage.api.lists import DEFAULT_SORT_KEY, LARGEST_SIZE_GB, Shape
from snapmanage.api.versions import MINIMUM, Version
from snapmanage.core.lists.sorting import SORT_KEYS

_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string"}
_JSON = {"type": "string", "contentMediaType": "application/json"}
_COUNT = {"type": "integer", "minimum": 0}
_MOMENT = {"type": "string", "format": "date-time"}


@dataclass(frozen=True)
class Parameter:
    """A query parameter; below microversion `since` it is ignored, like an unknown one."""

    name: str
    description: str
    schema: Mapping[str, Any]
    since: Version = MINIMUM


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
)
MANAGEABLE = (
    *_MANAGEABLE_PAGE,
    Parameter("volume_id", "Only snapshots of this volume.", {"type": "string", "format": "uuid"}),
)
MANAGEABLE_VOLUMES = (
    *_MANAGEABLE_PAGE,
    Parameter("min_size", "Only volumes of at least this size in GiB.", _COUNT | {"maximum": LARGEST_SIZE_GB}),
    Parameter("max_size", "Only volumes of at most this size in GiB.", _COUNT | {"maximum": LARGEST_SIZE_GB}),
)


ALL_PROJECTS = (
    Parameter("all_tenants", "List the records of all projects; for administrators.", _BOOLEAN),
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
        *ALL_PROJECTS,
        *more,
    )
    return tuple(replace(each, since=max(each.since, since)) for each in made)


_METADATA = Parameter(
    "metadata",
    "Only entries with these metadata: an object with string values.",
    _JSON | {"examples": ['{"key": "value"}']},
)
