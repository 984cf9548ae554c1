"""What queries may say, as the document tells it: made from the values that the lists read their parameters by."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from snapmanage.api import schemas, versions
from snapmanage.api.lists import DEFAULT_SORT_KEY, LARGEST_SIZE_GB, Shape
from snapmanage.api.versions import MINIMUM, Version
from snapmanage.core.manageable import SORT_KEYS

_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string"}
_JSON = {"type": "string", "contentMediaType": "application/json"}
_COUNT = {"type": "integer", "minimum": 0}
_MOMENT = {"type": "string", "format": "date-time"}


@dataclass(frozen=True)
class Parameter:
    """One that counts from the microversion `since` on; below, it is ignored like any that nobody knows."""

    name: str
    description: str
    schema: Mapping[str, Any]
    since: Version = MINIMUM


def _sort(keys: Iterable[str], default: str) -> tuple[Parameter, ...]:
    """`sort`, or the older two instead of it."""
    known = list(keys)
    one = f"({'|'.join(re.escape(key) for key in known)})(:(asc|desc))?"
    pattern = {"type": "string", "pattern": f"^{one}(,{one})*$"}
    told = f"KEY:DIRECTION,…; without it {default}:desc. Not together with sort_key and sort_dir."
    return (
        Parameter("sort", told, pattern),
        Parameter("sort_key", "The older form of sort.", {"type": "string", "enum": known}),
        Parameter("sort_dir", "The older form of sort.", {"type": "string", "enum": ["asc", "desc"]}),
    )


_PAGE = (
    Parameter("limit", "The page's size; cut to what the service allows.", _COUNT),
    Parameter("offset", "How many entries to pass over.", _COUNT | {"maximum": schemas.LARGEST_OFFSET}),
)
WITH_COUNT = Parameter("with_count", "Whether to tell how many there are on all pages.", _BOOLEAN, versions.WITH_COUNT)
MANAGEABLE = (
    Parameter("host", "HOST@BACKEND, with #POOL or without, or a HOST of one backend; or else cluster.", _TEXT),
    Parameter("cluster", "CLUSTER@BACKEND: any machine of the cluster answers.", _TEXT, versions.CLUSTERS),
    *_PAGE,
    Parameter("marker", "The JSON of the last reference of the page before.", _JSON),
    *_sort(SORT_KEYS, "reference"),
    Parameter("name~", "Entries whose name holds this, whatever the case.", _TEXT),
    Parameter("volume_id", "Entries of this volume.", {"type": "string", "format": "uuid"}),
    Parameter("safe_to_manage", "Entries that are safe to manage, or those that aren't.", _BOOLEAN),
    Parameter("created_before", "Entries that the backend made earlier.", _MOMENT),
    Parameter("created_after", "Entries that the backend made later.", _MOMENT),
)


def listing(shape: Shape, *more: Parameter, since: Version = MINIMUM) -> tuple[Parameter, ...]:
    """Those of a list of records, and more; from a microversion on."""
    texts = [name for name, column in shape.filters.items() if column != "size_gb"]
    sizes = [name for name, column in shape.filters.items() if column == "size_gb"]
    made = (
        *_PAGE,
        Parameter("marker", "The id of the last entry of the page before.", _TEXT),
        *_sort([*shape.sort_keys, *shape.constants], DEFAULT_SORT_KEY),
        *(Parameter(name, "Entries with this value.", _TEXT) for name in [*texts, *shape.constants]),
        *(Parameter(name, "Entries of this size, in GB.", _COUNT | {"maximum": LARGEST_SIZE_GB}) for name in sizes),
        *(Parameter(f"{name}~", "Entries whose value holds this.", _TEXT, versions.INEXACT_FILTERS) for name in texts),
        *([_METADATA] if shape.metadata else []),
        Parameter("all_tenants", "Whether to list every project's, for those who see them.", _BOOLEAN),
        Parameter("project_id", "With all_tenants: whose to list.", _TEXT),
        *more,
    )
    return tuple(replace(each, since=max(each.since, since)) for each in made)


_METADATA = Parameter(
    "metadata", "Entries with these metadata: an object of texts.", _JSON | {"examples": ['{"key": "value"}']}
)
