"""One pattern: the names that a tool gives to its snapshots, and the consequence of a new name for that tool."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum

from snapmanage.core.backend import Notes
from snapmanage.core.origins.forms import AnyForm, Fields, Form, Name


class Rename(Enum):
    """The advice about a new name: nothing depends on the name, the tool loses the snapshot, or the tool breaks."""

    SAFE = "safe"
    WARN = "warn"
    REFUSE = "refuse"


class Clock(Enum):
    """The zone of the times in a tool's names."""

    UTC = "utc"
    LOCAL = "local"


@dataclass(frozen=True)
class Origin:
    """The tool that made a snapshot; `why` is a clause about the consequence of a new name.

    `created_at` is the time in the name, or else that of `notes`, which the tool has written down elsewhere.
    """

    tool: str
    class_name: str | None
    created_at: datetime | None
    rename: Rename
    why: str
    notes: Notes | None = None


@dataclass(frozen=True)
class Pattern:
    """The names of one tool, on some drivers.

    The pattern holds for the `drivers`, or for every driver if it names none. `parents` are forms of the volume's name,
    any volume if there are none; with `orphans`, a snapshot whose volume is gone fits too. `requires` is the name of a
    property that the snapshot must have, which the driver reports.
    """

    tool: str
    names: Sequence[Form]
    rename: Rename
    why: str
    drivers: frozenset[str] = frozenset()
    class_name: str | None = None
    clock: Clock = Clock.UTC
    parents: Sequence[Form] = ()
    orphans: bool = False
    requires: str | None = None

    @property
    def fits_any_name(self) -> bool:
        return any(form.text == "*" for form in self.names)

    def recognise(self, name: Name, parent: Name | None, properties: Mapping[str, str], local: tzinfo) -> Origin | None:
        """Return the origin of a snapshot; None if the tool gives no such name to a snapshot of this volume."""
        if self.requires and properties.get(self.requires, "0") in _ABSENT:
            return None
        read = self._fields(name, UTC if self.clock is Clock.UTC else local)
        if read is None or not self._has_parent(parent):
            return None
        return Origin(self.tool, self.class_name or read.class_name, read.created_at, self.rename, self.why)

    def _fields(self, name: Name, zone: tzinfo) -> Fields | None:
        for form in self.names:
            if read := form.read(name, zone):
                return read
        return None

    def _has_parent(self, parent: Name | None) -> bool:
        if not self.parents:
            return True
        return self.orphans if parent is None else any(form.read(parent) for form in self.parents)


# Values of a property that mean that the snapshot does not have it.
_ABSENT = frozenset(("", "0", "-", "no", "none"))


class Origins:
    """A table of patterns, of which the first that fits counts; `local` is the zone of this host.

    An object never changes, except for a cache of the patterns of each driver; several threads may use it.
    """

    def __init__(self, patterns: Iterable[Pattern] = (), local: tzinfo = UTC) -> None:
        self.patterns = tuple(patterns)
        self.local = local
        self._by_driver: dict[str, _Prepared] = {}

    def recognise(
        self, name: str, parent: str | None, driver: str, properties: Mapping[str, str] | None = None
    ) -> Origin | None:
        """Return the origin of a snapshot on a backend with this driver; None if no tool is known to name it so.

        `parent` is the name of its volume, None if that is gone. `properties` are those that the driver reports.
        """
        prepared = self._by_driver.get(driver) or self._prepare(driver)
        patterns = prepared.every if prepared.quick.may_match(name) else prepared.of_any_name
        if not patterns:  # as for most names of a large backend
            return None
        names = Name.of(name)
        volume = Name.of(parent) if parent is not None else None
        found = (each.recognise(names, volume, properties or {}, self.local) for each in patterns)
        return next((origin for origin in found if origin), None)

    def _prepare(self, driver: str) -> "_Prepared":
        every = [each for each in self.patterns if not each.drivers or driver in each.drivers]
        quick = AnyForm(form for each in every if not each.fits_any_name for form in each.names)
        prepared = _Prepared(every, [each for each in every if each.fits_any_name], quick)
        return self._by_driver.setdefault(driver, prepared)


@dataclass(frozen=True)
class _Prepared:
    """The patterns of a driver, and a quick test of whether a name can have one that doesn't fit any name."""

    every: Sequence[Pattern]
    of_any_name: Sequence[Pattern]
    quick: AnyForm
