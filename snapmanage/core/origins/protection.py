"""Protect the names that other tools need: the origins of one backend's snapshots, and the refusals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Notes
from snapmanage.core.origins.patterns import Origin, Origins, Rename
from snapmanage.core.values.ids import ids_in
from snapmanage.core.values.metadata import with_added
from snapmanage.core.values.text import printable

# Metadata whose keys begin so change what snapmanage does, so only administrators set them.
OWN_KEYS = "snapmanage:"
# The key with which an administrator has a snapshot renamed all the same.
FORCE = f"{OWN_KEYS}force"
# The beginning of `reason_not_safe`.
REFUSES = "origin refuses"
CREATED_AT = "origin-created-at"
DESCRIPTION = "origin-description"
# Characters of a value in the metadata of a record.
LONGEST_VALUE = 255


def forced(metadata: Mapping[str, str]) -> bool:
    return metadata.get(FORCE, "").lower() == "true"


def require_right_to_set(before: Mapping[str, str], after: Mapping[str, str], is_admin: bool) -> None:
    """Raise `NotPermitted` if metadata would get a new or another pair with one of `OWN_KEYS` by a non-administrator.

    Every caller may keep such a pair, for example in a replacement of all pairs, and remove it.
    """
    new = [key for key, value in after.items() if key.startswith(OWN_KEYS) and before.get(key) != value]
    if new and not is_admin:
        raise errors.NotPermitted(
            f"Only an administrator may set the metadata {new[0]}: keys that begin with {OWN_KEYS} change what "
            "snapmanage does; leave it out."
        )


def without_own_keys(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata without `OWN_KEYS`, for a sender that isn't known to be an administrator."""
    return {key: value for key, value in metadata.items() if not key.startswith(OWN_KEYS)}


def refuse(name: str, origin: Origin) -> None:
    """Raise `OriginRefuses` if a new name would break the tool that made a snapshot."""
    if origin.rename is Rename.REFUSE:
        raise errors.OriginRefuses(f"{name!r} is a snapshot of {origin.tool}, so it isn't renamed: {origin.why}")


def refuse_by_name(origins: Origins, driver: str, name: str, parent: str | None, snapshot_id: str) -> None:
    """Raise `OriginRefuses` if the name of a reference alone shows that a new name would break a tool.

    An object whose name holds the id of the new snapshot has its managed name already, as far as one can know here.
    """
    origin = origins.recognise(name, parent, driver)
    if origin and snapshot_id not in ids_in(name):
        refuse(name, origin)


def with_origin(metadata: Mapping[str, str], name: str, origin: Origin | None) -> Mapping[str, str]:
    """Return the metadata of a snapshot with its origin and its original name, unless they are given or too many."""
    if origin is None:
        return metadata
    known = {"origin": origin.tool, "origin-class": origin.class_name, "original-name": name}
    # The original name holds any other time.
    known |= _noted(origin.notes) if origin.notes else {}
    added = {key: value for key, value in known.items() if value and len(value) <= LONGEST_VALUE}
    return with_added(metadata, added)


@dataclass(frozen=True)
class BackendOrigins:
    """The origins of the snapshots of a backend; `protects` is false if its operator lets every object be renamed.

    `renames` returns whether managing gives an object a new name.
    """

    origins: Origins = field(default_factory=Origins)
    driver: str = ""
    protects: bool = False
    renames: Callable[[BackendSnapshot], bool] = lambda found: True

    def of(self, found: BackendSnapshot) -> Origin | None:
        """Return the origin of a snapshot with the notes of its tool; None if no tool is known to name it so."""
        origin = self.origins.recognise(found.name, found.parent, self.driver, found.extra)
        if origin is None or found.notes is None:
            return origin
        return replace(origin, created_at=origin.created_at or found.notes.created_at, notes=found.notes)

    def reason_not_safe(self, found: BackendSnapshot, origin: Origin | None) -> str | None:
        """Return why a snapshot can't be managed because of its origin; None if it can."""
        if origin is None or not self.protects or origin.rename is not Rename.REFUSE or not self.renames(found):
            return None
        return f"{REFUSES}: {origin.why}"


NO_ORIGINS = BackendOrigins()
ORIGIN_KEYS = ("origin", "origin-class", "origin-rename", "origin-why", CREATED_AT, DESCRIPTION)


def with_extra_info(extra: Mapping[str, str], origin: Origin | None) -> dict[str, str]:
    """Return the properties that a driver reports, and the origin as lists show it, under the keys `ORIGIN_KEYS`.

    Every reader sees these keys, so a driver's own values of them are left out.
    """
    shown = {key: value for key, value in extra.items() if key not in ORIGIN_KEYS}
    if origin is None:
        return shown
    noted = _noted(Notes(origin.created_at, origin.notes.description if origin.notes else ""))
    values = (origin.tool, origin.class_name, origin.rename.value, origin.why, noted[CREATED_AT], noted[DESCRIPTION])
    return shown | {key: value for key, value in zip(ORIGIN_KEYS, values, strict=True) if value is not None}


def _noted(notes: Notes) -> dict[str, str | None]:
    """Return the notes of a tool as texts that every client can print; None where the tool has noted nothing."""
    return {
        CREATED_AT: notes.created_at.isoformat() if notes.created_at else None,
        DESCRIPTION: printable(notes.description)[:LONGEST_VALUE] or None,
    }
