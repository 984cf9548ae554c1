"""What clients ask for while processes die: each asks again until it is answered, as a client does."""

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import requests
import sqlalchemy as sa

from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until
from tests.chaos.fleet import Fleet

# Acts; may be called again, which must not make it happen twice.
Story = Callable[[], None]

# Who dies may have begun to answer.
CUT_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@dataclass
class Manage:
    """A snapshot is asked for under a key."""

    fleet: Fleet
    host: str
    source: str
    project: str = PROJECT
    ends_as: str = "available"
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    volume_id: str = ""
    snapshot_id: str = ""

    def __call__(self) -> None:
        with suppress(*CUT_OFF):
            volume_id = self.volume_id or self.fleet.volumes[self.host]
            body = {"snapshot": {"volume_id": volume_id, "ref": {"source-name": self.source}}}
            answer = self.fleet.request("/os-snapshot-manage", body, self.key, self.project)
            assert answer.status_code == 202, answer.text
            self.snapshot_id = str(answer.json()["snapshot"]["id"])
            self.fleet.promises.setdefault(self.snapshot_id, self.ends_as)


@dataclass
class Unmanage:
    """A managed snapshot is given back; once that was asked for, it can't be asked for again."""

    fleet: Fleet
    snapshot_id: str

    def __call__(self) -> None:
        with suppress(*CUT_OFF):
            answer = self.fleet.request(f"/snapshots/{self.snapshot_id}/action", {"os-unmanage": {}})
            assert answer.status_code in (202, 400, 404), answer.text
            self.fleet.promises[self.snapshot_id] = "deleted"


def manage(fleet: Fleet) -> Story:
    return Manage(fleet, _host(fleet), _plant(fleet))


def manage_another(fleet: Fleet) -> Story:
    """Asked again, it asks for another one."""
    return lambda: manage(fleet)()


def manage_in_a_new_project(fleet: Fleet) -> Story:
    storage, project = fleet.storages[_host(fleet)], uuid.uuid4().hex
    volume = storage.plant_volume(f"disk-{project}")
    source = storage.plant("first", volume)
    return Manage(fleet, _host(fleet), source, project, volume_id=fleet.register(_host(fleet), volume, project))


def unmanage(fleet: Fleet) -> Story:
    managed = Manage(fleet, _host(fleet), _plant(fleet))
    managed()
    fleet.rest()
    return Unmanage(fleet, managed.snapshot_id)


def cast(fleet: Fleet) -> Story:
    """An upstream API casts once: the broker has confirmed it, so nobody will send it again."""
    source, snapshot_id = _plant(fleet), str(uuid.uuid4())

    def act() -> None:
        if snapshot_id not in fleet.promises:
            fleet.promises[snapshot_id] = "available"
            fleet.cast(_host(fleet), source, snapshot_id)

    return act


def send_garbage(fleet: Fleet) -> Story:
    """What can't be understood comes once, and must be in the quarantine once."""
    return _once(fleet, lambda body: fleet.publish(_host(fleet), body))


def announce_garbage(fleet: Fleet) -> Story:
    """The same on the auditor's queue."""
    return _once(fleet, lambda body: fleet.send(f"{fleet.exchange}-notifications.info", body))


def unmanage_too_early(fleet: Fleet) -> tuple[str, str]:
    """Ids of a managed snapshot, and of the message in the quarantine that asked for it back before it was known."""
    source, snapshot_id = _plant(fleet), str(uuid.uuid4())
    content = {"method": "unmanage_snapshot", "args": {"snapshot_id": snapshot_id}, "version": "1.0"}
    body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode()
    fleet.publish(_host(fleet), body)
    fleet.until_quarantined(body)
    fleet.cast(_host(fleet), source, snapshot_id)
    fleet.promises[snapshot_id] = "available"
    fleet.rest()
    with fleet.engine.connect() as conn:
        query = sa.text("SELECT id FROM quarantine WHERE body = :body")
        return snapshot_id, str(conn.execute(query, {"body": body}).scalar_one())


def register(fleet: Fleet) -> Story:
    """A volume is asked for under a key, and must be known once, when it is asked for again."""
    key = str(uuid.uuid4())
    asked: list[str] = []
    name = fleet.storages[_host(fleet)].plant_volume(f"disk-{key}")
    body = {"volume": {"host": f"{_host(fleet)}@pool", "ref": {"source-name": name}}}

    def act() -> None:
        with suppress(*CUT_OFF):
            answer = fleet.request("/os-volume-manage", body, key)
            assert answer.status_code == 202, answer.text
            assert fleet.count("SELECT count(*) FROM volumes WHERE reference LIKE :name", name=f"%{name}%") == 1
            if asked:
                until(available, f"{name} to be available")
        asked.append(key)

    def available() -> bool:
        query = "SELECT count(*) FROM volumes WHERE reference LIKE :name AND status = 'available'"
        return fleet.count(query, name=f"%{name}%") == 1

    return act


def _once(fleet: Fleet, send: Callable[[bytes], None]) -> Story:
    """Bytes that nobody understands are sent; asked again, they are looked for."""
    body = f"garbage {uuid.uuid4()}".encode()
    sent: list[bytes] = []

    def act() -> None:
        if sent:
            fleet.until_quarantined(body)
        else:
            send(body)
            sent.append(body)

    return act


def _host(fleet: Fleet) -> str:
    return next(iter(fleet.storages))


def _plant(fleet: Fleet) -> str:
    return fleet.storages[_host(fleet)].plant(uuid.uuid4().hex)
