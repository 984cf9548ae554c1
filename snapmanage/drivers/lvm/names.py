"""LVM's rules for names; a name that breaks them never becomes an argument of a command."""

import re

MAX_NAME_LENGTH = 127
# Device-mapper's limit. LVM checks it too late: by then it has suspended the origin, and leaves it suspended.
MAX_DEVICE_NAME_LENGTH = 127
LONGEST_LAYER_SUFFIX = "-real"

RESERVED_BEGINNINGS = ("pvmove", "snapshot")
RESERVED_PARTS = (
    *("_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare"),
    *("_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig"),
)

_VALID = re.compile(r"[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*", re.ASCII)


def is_valid_name(name: str) -> bool:
    """Return whether a group or a logical volume, also an internal one, can have this name."""
    return bool(_VALID.fullmatch(name)) and name not in (".", "..") and len(name) <= MAX_NAME_LENGTH


def begins_reserved(name: str) -> bool:
    return name.startswith(RESERVED_BEGINNINGS)


def refusal(group: str, name: str) -> str | None:
    """Return the reason why a logical volume of the group can't get this name, as a clause; None where it can."""
    if not is_valid_name(name):
        return f"a name has 1 to {MAX_NAME_LENGTH} letters, digits or '+_.-', and doesn't begin with '-'"
    if begins_reserved(name):
        return f"LVM reserves names that begin with {' or '.join(map(repr, RESERVED_BEGINNINGS))}"
    for part in RESERVED_PARTS:
        if part in name:
            return f"LVM reserves names with {part!r} in them"
    device_name = "-".join(part.replace("-", "--") for part in (group, name))
    if len(device_name + LONGEST_LAYER_SUFFIX) > MAX_DEVICE_NAME_LENGTH:
        return "together with the group's name it is too long for device-mapper"
    return None
