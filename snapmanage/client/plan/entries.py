"""The lines of a plan: a header, and one entry for each volume and each snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from snapmanage import errors
from snapmanage.client.selection.found import Found, name_of, time_of
from snapmanage.core.values.text import cut

FORMAT = 1
LABEL_KEY = "adopted-by"
# The beginning of the label, before the id of the plan.
LABEL = "plan:"
ENTRY_KEY = "adopted-as"
NAME_KEY = "original-name"
# The selector of a plan of the rows of a file.
FROM_FILE = "from"


@dataclass(frozen=True)
class Header:
    """The first line. `scans` has the digest of each host's scan, `templates` those of names and metadata."""

    plan_id: str
    created_at: str
    endpoint: str
    project: str | None
    hosts: tuple[str, ...]
    selector: Mapping[str, Any] = field(default_factory=dict)
    scans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    templates: Mapping[str, Any] = field(default_factory=dict)
    cloud: str | None = None

    @property
    def label(self) -> str:
        """Return the value of the metadata that mark every record of the plan."""
        return f"{LABEL}{self.plan_id}"

    def as_json(self) -> dict[str, Any]:
        return {
            "plan": FORMAT,
            "id": self.plan_id,
            "created_at": self.created_at,
            "cloud": self.cloud,
            "endpoint": self.endpoint,
            "project": self.project,
            "hosts": list(self.hosts),
            "selector": self.selector,
            "scans": self.scans,
            "templates": self.templates,
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> "Header":
        """Read the first line; raise `InvalidRequest` if it is none, or of a newer format."""
        if value.get("plan") != FORMAT:
            raise errors.InvalidRequest(
                f"the first line must have the field plan with {FORMAT}, not {cut(repr(value.get('plan')))}; "
                "make the plan again with this version"
            )
        texts = {name: required_text(value, name) for name in ("id", "created_at", "endpoint")}
        return cls(
            texts["id"],
            texts["created_at"],
            texts["endpoint"],
            value.get("project"),
            tuple(map(str, value.get("hosts", ()))),
            value.get("selector", {}),
            value.get("scans", {}),
            value.get("templates", {}),
            value.get("cloud"),
        )


@dataclass(frozen=True)
class RegisterVolume:
    """An entry that registers a volume, so that its snapshots can be managed."""

    key: str
    host: str
    reference: Mapping[str, Any]
    name: str

    def as_json(self) -> dict[str, Any]:
        return {
            "do": "register-volume",
            "key": self.key,
            "host": self.host,
            "ref": dict(self.reference),
            "name": self.name,
        }


@dataclass(frozen=True)
class Expect:
    """The facts of a snapshot when the plan was made; None where the service does not show them."""

    size: int
    parent: str | None
    identity: str | None = None
    created_at: str | None = None

    @classmethod
    def of(cls, found: Found) -> "Expect":
        created_at = found.created_at.isoformat() if found.created_at else None
        return cls(found.size_gb, found.parent, found.identity, created_at)

    def differences(self, found: Found) -> list[str]:
        """Return a clause for each fact that differs from a fresh scan; a fact that one of them lacks does not.

        But a snapshot that the scan shows without a volume has lost it.
        """
        now = Expect.of(found)
        facts = (
            ("size", self.size, now.size),
            ("volume", self.parent, now.parent),
            ("identity", self.identity, now.identity),
            ("created_at", self.created_at, now.created_at),
        )
        return [
            f"{name} was {before}, is {after}"
            for name, before, after in facts
            if before not in (None, after) and (name == "volume" or after is not None)
        ]

    def as_json(self) -> dict[str, Any]:
        facts = {"size": self.size, "volume": self.parent, "identity": self.identity, "created_at": self.created_at}
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class Manage:
    """An entry that manages a snapshot. `volume` is the id of a record, or the key of a `RegisterVolume`.

    `snapshot_id` is the id that the client has chosen, if the service takes it. `renamed_to` is then the exact name
    that the object gets. `made_at` is the time that its program has noted, if the backend has another one.
    """

    key: str
    volume: str
    host: str
    reference: Mapping[str, Any]
    name: str
    expect: Expect
    snapshot_id: str | None = None
    renamed_to: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    made_at: str | None = None

    @property
    def source(self) -> str:
        """Return the object's name on the backend before it is managed."""
        return name_of(self.reference)

    @property
    def time(self) -> datetime | None:
        """Return when the snapshot was made, like `Found.made_at`."""
        return time_of(self.made_at or self.expect.created_at)

    def order(self) -> tuple[str, str, str]:
        """Return the key of the order of `Found.order`."""
        return self.host, self.expect.parent or "", self.source

    def place(self) -> tuple[str, str]:
        """Return the key of the order of `Found.place`."""
        return self.host, self.source

    def as_json(self) -> dict[str, Any]:
        return {
            "do": "manage",
            "key": self.key,
            "volume": self.volume,
            "id": self.snapshot_id,
            "host": self.host,
            "ref": dict(self.reference),
            "name": self.name,
            "description": self.description,
            "metadata": dict(self.metadata),
            "expect": self.expect.as_json(),
            "renames": {"from": self.source, "to": self.renamed_to},
            "warnings": list(self.warnings),
        } | ({"made_at": self.made_at} if self.made_at else {})


@dataclass(frozen=True)
class Skip:
    """An entry that does nothing; `why` is a code, `text` a sentence."""

    host: str
    reference: Mapping[str, Any]
    why: str
    text: str

    @property
    def source(self) -> str:
        return name_of(self.reference)

    def as_json(self) -> dict[str, Any]:
        return {"do": "skip", "host": self.host, "ref": dict(self.reference), "why": self.why, "text": self.text}


Entry = RegisterVolume | Manage | Skip


def name_metadata(name: str) -> dict[str, str]:
    """Return the metadata that keep an object's name for a service that restores none; empty if they can't hold it."""
    return {NAME_KEY: name} if name.isprintable() and len(name) <= 255 else {}


def entry_of(value: Mapping[str, Any]) -> Entry:
    """Read a line after the first one; raise `InvalidRequest`, which names the wrong field."""
    match value.get("do"):
        case "register-volume":
            return RegisterVolume(
                required_text(value, "key"),
                required_text(value, "host"),
                _reference(value),
                required_text(value, "name"),
            )
        case "manage":
            return _manage(value)
        case "skip":
            return Skip(
                str(value.get("host") or ""),
                _reference(value),
                required_text(value, "why"),
                str(value.get("text") or ""),
            )
    raise errors.InvalidRequest(
        f"the field do must be register-volume, manage or skip, not {cut(repr(value.get('do')))}"
    )


def _manage(value: Mapping[str, Any]) -> Manage:
    expect, renames = _object(value, "expect"), _object(value, "renames")
    return Manage(
        key=required_text(value, "key"),
        volume=required_text(value, "volume"),
        host=required_text(value, "host"),
        reference=_reference(value),
        name=str(value.get("name") or ""),
        expect=_expect(expect),
        snapshot_id=_optional_text(value, "id"),
        renamed_to=_optional_text(renames, "to"),
        description=_optional_text(value, "description"),
        metadata={str(key): str(each) for key, each in _object(value, "metadata").items()},
        warnings=tuple(map(str, value.get("warnings") or ())),
        made_at=_optional_text(value, "made_at"),
    )


def _expect(value: Mapping[str, Any]) -> Expect:
    size = value.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool):
        raise errors.InvalidRequest(f"the field size must be a whole number, not {cut(repr(size))}")
    return Expect(size, *(_optional_text(value, name) for name in ("volume", "identity", "created_at")))


def _optional_text(value: Mapping[str, Any], name: str) -> str | None:
    text = value.get(name)
    if text is not None and not isinstance(text, str):
        raise errors.InvalidRequest(f"the field {name} must be a text or null, not {cut(repr(text))}")
    return text


def required_text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise errors.InvalidRequest(f"the field {name} must be a text, not {cut(repr(text))}")
    return text


def _reference(value: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = _object(value, "ref")
    if not reference:
        raise errors.InvalidRequest("the field ref must be an object such as {'source-name': NAME}")
    return reference


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name) or {}
    if not isinstance(found, Mapping):
        raise errors.InvalidRequest(f"the field {name} must be an object, not {cut(repr(found))}")
    return found
