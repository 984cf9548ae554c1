"""The metadata of a record: pairs of texts."""

from collections.abc import Mapping

# Pairs in the metadata of a record; a page shows up to `osapi_max_limit` records.
MOST_PAIRS = 128


def with_added(metadata: Mapping[str, str], added: Mapping[str, str]) -> Mapping[str, str]:
    """Return the metadata with the pairs that snapmanage adds, unless they are given or would be too many."""
    together = {**added, **metadata}
    return together if len(together) <= MOST_PAIRS else metadata
