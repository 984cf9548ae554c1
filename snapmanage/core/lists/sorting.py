"""The orders of a list of manageable snapshots or volumes: few enough that a scan can keep each of them."""

from collections.abc import Sequence

from snapmanage import errors
from snapmanage.core.values.text import cut

Sort = tuple[tuple[str, str], ...]

SORT_KEYS = ("reference", "size")
SORT_DIRECTIONS = ("asc", "desc")
BY_REFERENCE: Sort = (("reference", "desc"),)


def order(keys: Sequence[str], directions: Sequence[str]) -> Sort:
    """Return the order of a list, in one of six forms; raise `InvalidRequest` unless it has these keys and directions.

    A repeated key has no effect, nor has a key after `reference`, since no two entries have the same reference.
    """
    for key in keys:
        if key not in SORT_KEYS:
            raise errors.InvalidRequest(f"sort key {cut(repr(key))} must be one of {', '.join(SORT_KEYS)}")
    for direction in directions:
        if direction not in SORT_DIRECTIONS:
            raise errors.InvalidRequest(
                f"sort direction {cut(repr(direction))} must be one of {', '.join(SORT_DIRECTIONS)}"
            )
    if len(keys) != len(directions):
        raise errors.InvalidRequest("sort needs as many directions as keys")
    first = dict(reversed(list(zip(keys, directions, strict=True))))
    by_reference = ("reference", first.get("reference", "asc"))
    if not keys:
        return BY_REFERENCE
    return (by_reference,) if keys[0] == "reference" else (("size", first["size"]), by_reference)
