"""Read the records of the project: its volumes and its snapshots."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from snapmanage.client.api import scans
from snapmanage.client.api.answers import Refused, next_marker
from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.selection.found import name_of
from snapmanage.core.values.ids import ids_in

PAGE = 1000
# A volume in another status can't get snapshots.
_USABLE = frozenset({"available", "in-use"})
_OWN = "snapmanage:"


@dataclass(frozen=True)
class Record:
    """A volume or a snapshot. `source` and `backend_name` are None if the service does not show them."""

    record_id: str
    status: str
    name: str | None = None
    host: str | None = None
    volume_id: str | None = None
    size_gb: int = 0
    source: str | None = None
    backend_name: str | None = None
    original_name: str | None = None
    reason: str | None = None
    reason_code: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Record":
        """Read an entry of a detailed list."""
        host = value.get(f"{_OWN}host") or value.get("os-vol-host-attr:host")
        reference = value.get(f"{_OWN}reference")
        return cls(
            record_id=value["id"],
            status=str(value.get("status")),
            name=value.get("name"),
            host=str(host).partition("#")[0] if host else None,
            volume_id=value.get("volume_id"),
            size_gb=int(value.get("size") or 0),
            source=name_of(reference) if isinstance(reference, Mapping) and reference else None,
            backend_name=value.get(f"{_OWN}backend_name"),
            original_name=value.get(f"{_OWN}original_name"),
            reason=value.get(f"{_OWN}reason"),
            reason_code=value.get(f"{_OWN}reason_code"),
            metadata=value.get("metadata") or {},
        )


def listed(api: Api, kind: str, filters: Mapping[str, str]) -> Iterator[Record]:
    """Yield the records of a kind, `volumes` or `snapshots`, page by page."""
    query: dict[str, Any] = {"limit": PAGE} | dict(filters)
    while True:
        page = api.get(f"/{kind}/detail", **query)
        found = page.get(kind, [])
        yield from map(Record.of, found)
        if not found or not page.get(f"{kind}_links"):
            return
        query["marker"] = next_marker(query, found[-1]["id"])


class KnownVolumes:
    """The registered volumes of some hosts, found by their names on the backend.

    A service shows the hosts of volumes to administrators only. For another caller, a list of manageable snapshots that
    is restricted to one volume shows whether the volume is on a host.
    """

    def __init__(self, api: Api, features: Features, hosts: Iterable[str]) -> None:
        self._api = api
        self._features = features
        self._ids: set[str] = set()
        self._by_name: dict[tuple[str, str], str | None] = {}
        self._without_host: dict[str, list[str]] = defaultdict(list)
        servers = {host.partition("#")[0] for host in hosts}
        for volume in listed(api, "volumes", {}):
            if volume.status in _USABLE and (volume.host is None or volume.host in servers):
                self._add(volume)

    def find(self, host: str, name: str) -> str | None:
        """Return the id of the volume `name`; Cinder's name of a volume holds its id."""
        server = host.partition("#")[0]
        if (server, name) not in self._by_name:
            candidates = self._without_host.get(name, ())
            self._by_name[server, name] = next((each for each in candidates if self._is_on(server, each)), None)
        return self._by_name[server, name] or min(ids_in(name) & self._ids, default=None)

    def _add(self, volume: Record) -> None:
        self._ids.add(volume.record_id)
        name = volume.backend_name or volume.source or _name_by_snapshots(self._api, self._features, volume)
        if name and volume.host:
            self._by_name[volume.host, name] = volume.record_id
        elif name:
            self._without_host[name].append(volume.record_id)

    def _is_on(self, server: str, volume_id: str) -> bool:
        """Return whether a server has a volume: another server knows no volume of this id."""
        if "volume_id" not in self._features.filters:
            return False
        try:
            next(scans.manageable(self._api, server, {"volume_id": volume_id, "limit": "1"}), None)
        except Refused as error:
            if error.status != 404:
                raise
            return False
        return True


def _name_by_snapshots(api: Api, features: Features, volume: Record) -> str | None:
    """Return a volume's name as its first snapshot shows it, if the service can list the snapshots of one volume."""
    if "volume_id" not in features.filters or volume.host is None:
        return None
    found = next(scans.manageable(api, volume.host, {"volume_id": volume.record_id}), None)
    return found.parent if found else None
