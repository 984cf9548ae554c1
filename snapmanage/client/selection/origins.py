"""Recognise the programs that made snapshots, for a service that does not show them, such as Cinder.

The service does not say which driver it uses, so the names count that occur behind Cinder's drivers and on ZFS. Names
of other backends are too short to mean anything elsewhere. Times in names count as UTC.
"""

from collections.abc import Mapping
from dataclasses import replace

from snapmanage.core.origins.patterns import Origin, Rename
from snapmanage.core.origins.table import KNOWN
from snapmanage.core.values.ids import own_name

_DRIVERS = ("cinder", "zfs")
# A service knows its own snapshots; another one of these names was unmanaged, or belongs to another service.
_SERVICES = frozenset({"Cinder", "snapmanage"})
_UNMANAGED_WHY = (
    "a Cinder or a snapmanage gave it this name, and the service has no record of it; if another service on the same "
    "backend has one, it would not find the snapshot any more"
)


def recognise(name: str, parent: str | None, properties: Mapping[str, str]) -> Origin | None:
    """Return the origin of a snapshot that the service does not manage; None if no program is known to name it so."""
    found = (KNOWN.recognise(name, parent, driver, properties) for driver in _DRIVERS)
    origin = next((each for each in found if each), None)
    if origin and origin.tool in _SERVICES and own_name(name).lstrip("_").startswith("snapshot-"):
        return replace(origin, rename=Rename.WARN, why=_UNMANAGED_WHY)
    return origin
