"""Decide for each selected snapshot how it would be managed, or why not; nothing here reads or writes."""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from snapmanage.client.plan import templates
from snapmanage.client.plan.entries import Entry, Expect, Manage, RegisterVolume, Skip, name_metadata
from snapmanage.client.plan.rows import Row
from snapmanage.client.selection.found import Found
from snapmanage.core.lists.manageable import ALREADY_MANAGED
from snapmanage.core.origins import protection
from snapmanage.core.values.text import printable

DEFAULT_NAME = "{name}"
REFUSES = "origin_refuses"
# The beginning of `reason_not_safe`, and the code of the reason.
_REASONS = {
    protection.REFUSES: REFUSES,
    ALREADY_MANAGED: "already_managed",
    "in use": "in_use",
    "unusable": "unusable",
}
FORCE = {protection.FORCE: "true"}


@dataclass(frozen=True)
class Rules:
    """The wishes of the person who makes the plan, and the abilities of the service.

    `backend_name` is the template of names on the backend; its `%s` is the id of the record. `rows` restrict the plan
    to the snapshots of a file.
    """

    name: str = DEFAULT_NAME
    metadata: Mapping[str, str] = field(default_factory=dict)
    includes_unsafe: bool = False
    forces: bool = False
    takes_chosen_ids: bool = False
    backend_name: str = "snapshot-%s"
    rows: Mapping[tuple[str, str | None], Row] | None = None
    make_id: Callable[[], str] = lambda: str(uuid.uuid4())


class Planner:
    """Makes the entries of a plan; `known_volume` returns the id of a registered volume by its host and its name."""

    def __init__(self, rules: Rules, known_volume: Callable[[str, str], str | None]) -> None:
        self._rules = rules
        self._known_volume = known_volume
        self._volumes: dict[tuple[str, str], str] = {}
        self._snapshot_keys = (f"s{number}" for number in itertools.count(1))

    def entries(self, selected: Iterable[Found]) -> Iterator[Entry]:
        """Yield the entries; the one that registers a volume comes before the snapshots of the volume."""
        missing = set(self._rules.rows or ())
        for found in selected:
            row = self._row(found)
            if self._rules.rows is not None and row is None:
                continue
            missing.discard(row.key if row else (found.name, None))
            yield from self._of_snapshot(found)
        for source, host in sorted(missing, key=str):
            yield Skip(host or "", {"source-name": source}, "source_not_found", "no scanned backend has this snapshot")

    def _row(self, found: Found) -> Row | None:
        """Return the row of a snapshot: the one of its host, or one for any host."""
        rows = self._rules.rows or {}
        return rows.get((found.name, found.host)) or rows.get((found.name, None))

    def _of_snapshot(self, found: Found) -> Iterator[Entry]:
        if (skip := why_not(found, self._rules)) is not None:
            yield skip
            return
        assert found.parent is not None
        volume = self._volume(found.host, found.parent)
        if volume is None:
            volume = self._volumes[found.host, found.parent] = f"v{len(self._volumes) + 1}"
            yield RegisterVolume(volume, found.host, {"source-name": found.parent}, printable(found.parent)[:255])
        yield self._manage(found, volume)

    def _volume(self, host: str, parent: str) -> str | None:
        """Return the id of a registered volume, or the key of the entry that registers it."""
        return self._volumes.get((host, parent)) or self._known_volume(host, parent)

    def _manage(self, found: Found, volume: str) -> Manage:
        row = self._row(found) or Row(found.name)
        chosen_id = self._rules.make_id() if self._rules.takes_chosen_ids else None
        return Manage(
            key=next(self._snapshot_keys),
            volume=volume,
            host=found.host,
            reference=found.reference,
            name=row.name or templates.fill(self._rules.name, found),
            expect=Expect.of(found),
            snapshot_id=chosen_id,
            renamed_to=_renamed(found, self._rules.backend_name, chosen_id) if chosen_id else None,
            description=row.description or found.description,
            metadata=self._metadata(found) | dict(row.metadata),
            warnings=tuple(_warnings(found)),
            made_at=found.made_at.isoformat() if found.made_at and found.made_at != found.created_at else None,
        )

    def _metadata(self, found: Found) -> dict[str, str]:
        facts = {"origin": found.origin, "origin-class": found.origin_class}
        made = {key: templates.fill(template, found) for key, template in self._rules.metadata.items()}
        forced = FORCE if found.rename == "refuse" else {}
        return {key: value for key, value in facts.items() if value} | name_metadata(found.name) | made | forced


def why_not(found: Found, rules: Rules) -> Skip | None:
    """Return the entry for a snapshot that must not be managed, or None."""
    code = None if found.is_safe else _code(found.reason_not_safe or "")
    if found.is_managed:
        return _skip(found, "already_managed", "a record owns the snapshot")
    if (found.rename == "refuse" or code == REFUSES) and not rules.forces:
        return _skip(found, REFUSES, found.origin_why or found.reason_not_safe or "its program needs the name")
    if found.parent is None:
        return _skip(found, "orphan", "the volume of the snapshot is gone")
    if code is not None and code != REFUSES and not rules.includes_unsafe:
        return _skip(found, code, found.reason_not_safe or "")
    return None


def _skip(found: Found, why: str, text: str) -> Skip:
    return Skip(found.host, found.reference, why, text)


def _code(reason: str) -> str:
    return next((code for start, code in _REASONS.items() if reason.startswith(start)), "not_safe")


def _renamed(found: Found, template: str, record_id: str) -> str:
    """Return the name that the object gets: only its own name changes."""
    return found.name.removesuffix(found.own_name) + template.replace("%s", record_id)


def rename_warning(found: Found) -> str | None:
    """Return what a new name changes for the program that made a snapshot; None if it is safe."""
    if found.rename == "safe":
        return None
    program, why = found.origin or "another program", found.origin_why or "the new name changes how it works"
    return why if why.startswith(program) else f"{program}: {why}"


def _warnings(found: Found) -> Iterator[str]:
    if (warning := rename_warning(found)) is not None:
        yield warning
    if not found.is_safe:
        yield f"not safe to manage: {found.reason_not_safe}"
