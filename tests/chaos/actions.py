"""Actions of clients while processes die; a client repeats an action until it is answered."""

import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import requests
import sqlalchemy as sa

from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until
from tests.chaos.fleet.fleet import Fleet
from tests.examples import sample_content

# Carries out an action; calling it again must not carry it out twice.
Action = Callable[[], None]

# A dying process may have sent a part of its answer.
CUT_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@dataclass
class ManageAction:
    """Request to manage a snapshot, with an idempotency key."""

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
class BatchAction:
    """Request to manage snapshots in one batch, with chosen ids; its answer is the same each time."""

    fleet: Fleet
    host: str
    sources: Sequence[str]
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    ids: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.ids = [str(uuid.uuid4()) for _ in self.sources]

    def __call__(self) -> None:
        volume_id = self.fleet.volumes[self.host]
        entries = [
            {"volume_id": volume_id, "ref": {"source-name": source}, "id": snapshot_id}
            for source, snapshot_id in zip(self.sources, self.ids, strict=True)
        ]
        entries.append({"volume_id": str(uuid.uuid4()), "ref": {"source-name": "nowhere"}})
        with suppress(*CUT_OFF):
            answer = self.fleet.request("/os-snapshot-manage/batch", {"snapshots": entries}, self.key)
            assert answer.status_code == 207, answer.text
            *accepted, refused = answer.json()["snapshots"]
            assert [each.get("snapshot", each).get("id") for each in accepted] == self.ids, answer.text
            assert refused["status"] == 404, answer.text
            self.fleet.promises.update(dict.fromkeys(self.ids, "available"))


@dataclass
class UnmanageAction:
    """Request to unmanage a managed snapshot; the API refuses the repeat of an accepted request."""

    fleet: Fleet
    snapshot_id: str

    def __call__(self) -> None:
        with suppress(*CUT_OFF):
            answer = self.fleet.request(f"/snapshots/{self.snapshot_id}/action", {"os-unmanage": {}})
            assert answer.status_code in (202, 400, 404), answer.text
            self.fleet.promises[self.snapshot_id] = "deleted"


@dataclass
class EditAction:
    """Edit the name and the metadata of a managed snapshot; a repeat has the same effect."""

    fleet: Fleet
    snapshot_id: str

    def __call__(self) -> None:
        with suppress(*CUT_OFF):
            path = f"/snapshots/{self.snapshot_id}"
            renamed = self.fleet.request(path, {"snapshot": {"name": "new"}}, method="PUT")
            labelled = self.fleet.request(f"{path}/metadata", {"metadata": {"tier": "gold"}})
            assert (renamed.status_code, labelled.status_code) == (200, 200), (renamed.text, labelled.text)
            assert labelled.json() == {"metadata": {"tier": "gold"}}


def edit(fleet: Fleet) -> Action:
    managed = ManageAction(fleet, _host(fleet), _plant(fleet))
    managed()
    fleet.await_idle()
    return EditAction(fleet, managed.snapshot_id)


@dataclass
class RetryAction:
    """Request to retry a snapshot in error; the API refuses the repeat of an accepted request."""

    fleet: Fleet
    snapshot_id: str

    def __call__(self) -> None:
        with suppress(*CUT_OFF):
            answer = self.fleet.request(f"/snapshots/{self.snapshot_id}/action", {"retry": None})
            assert answer.status_code in (202, 400), answer.text
            self.fleet.promises[self.snapshot_id] = "available"


@dataclass
class UnmanageVolumeAction:
    """Request to unmanage a volume, and check that its record is a tombstone; the repeat finds no volume."""

    fleet: Fleet
    volume_id: str

    def __call__(self) -> None:
        with suppress(*CUT_OFF):
            answer = self.fleet.request(f"/volumes/{self.volume_id}/action", {"os-unmanage": None})
            assert answer.status_code in (202, 404), answer.text
            query = "SELECT count(*) FROM volumes WHERE id = :id AND status = 'deleted' AND identity_key IS NULL"
            assert self.fleet.count(query, id=self.volume_id) == 1


def manage(fleet: Fleet) -> Action:
    return ManageAction(fleet, _host(fleet), _plant(fleet))


def manage_batch(fleet: Fleet) -> Action:
    return BatchAction(fleet, _host(fleet), [_plant(fleet) for _ in range(40)])


def manage_another(fleet: Fleet) -> Action:
    """Return an action that manages another snapshot at each call."""
    return lambda: manage(fleet)()


def manage_in_a_new_project(fleet: Fleet) -> Action:
    storage, project = fleet.files(_host(fleet)), uuid.uuid4().hex
    volume = storage.plant_volume(f"disk-{project}")
    source = storage.plant("first", volume)
    return ManageAction(fleet, _host(fleet), source, project, volume_id=fleet.register(_host(fleet), volume, project))


def unmanage(fleet: Fleet) -> Action:
    managed = ManageAction(fleet, _host(fleet), _plant(fleet))
    managed()
    fleet.await_idle()
    return UnmanageAction(fleet, managed.snapshot_id)


def retry(fleet: Fleet) -> Action:
    """Return an action that retries a snapshot, whose object the backend has got since its failure."""
    name = uuid.uuid4().hex
    failed = _fail(fleet, name)
    fleet.storages[_host(fleet)].plant(name)
    return RetryAction(fleet, failed)


def remove_failed(fleet: Fleet) -> Action:
    """Return an action that unmanages a snapshot whose object was never found."""
    return UnmanageAction(fleet, _fail(fleet, uuid.uuid4().hex))


def unmanage_volume(fleet: Fleet) -> Action:
    volume = fleet.files(_host(fleet)).plant_volume(f"disk-{uuid.uuid4()}")
    return UnmanageVolumeAction(fleet, fleet.register(_host(fleet), volume))


def cast_for_an_unmanaged_volume(fleet: Fleet) -> Action:
    """Return an action that sends one cast for a snapshot of a volume that was unmanaged, and lives again by it."""
    storage = fleet.files(_host(fleet))
    volume = storage.plant_volume(f"disk-{uuid.uuid4()}")
    volume_id = fleet.register(_host(fleet), volume)
    UnmanageVolumeAction(fleet, volume_id)()
    source, snapshot_id = storage.plant(uuid.uuid4().hex, volume), str(uuid.uuid4())

    def act() -> None:
        if snapshot_id not in fleet.promises:
            fleet.promises[snapshot_id] = "available"
            fleet.cast(_host(fleet), source, snapshot_id, volume_id=volume_id)

    return act


def cast(fleet: Fleet, project: str = PROJECT) -> Action:
    """Return an action that sends one cast: an upstream API doesn't repeat a cast that the broker confirmed."""
    source, snapshot_id = _plant(fleet), str(uuid.uuid4())

    def act() -> None:
        if snapshot_id not in fleet.promises:
            fleet.promises[snapshot_id] = "available"
            fleet.cast(_host(fleet), source, snapshot_id, project)

    return act


def cast_in_cinder_s_dialect(fleet: Fleet, snapshot_id: str) -> None:
    """Send the cast of a Cinder for a snapshot of the registered volume."""
    host = _host(fleet)
    content = sample_content("cast_manage_existing_snapshot")
    arguments = content["args"]
    arguments["ref"] = {"source-name": _plant(fleet)}
    ids = {"id": snapshot_id, "volume_id": fleet.volumes[host], "project_id": PROJECT}
    arguments["snapshot"]["versioned_object.data"] |= ids
    fleet.publish(host, json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode())
    fleet.promises[snapshot_id] = "available"


def cast_in_a_new_project(fleet: Fleet) -> Action:
    """Like `cast`, in a project whose requests have no row to queue on yet."""
    return cast(fleet, uuid.uuid4().hex)


def send_garbage(fleet: Fleet) -> Action:
    """Return an action that sends an unreadable message once, then waits until it is in the quarantine once."""
    return _once(fleet, lambda body: fleet.publish(_host(fleet), body))


def announce_garbage(fleet: Fleet) -> Action:
    """Like `send_garbage`, on the queue of the audit listener."""
    return _once(fleet, lambda body: fleet.send(f"{fleet.exchange}-notifications.info", body))


def unmanage_too_early(fleet: Fleet) -> tuple[str, str]:
    """Return the ids of a managed snapshot and of a quarantined message, which is a premature unmanage request."""
    source, snapshot_id = _plant(fleet), str(uuid.uuid4())
    content = {"method": "unmanage_snapshot", "args": {"snapshot_id": snapshot_id}, "version": "1.0"}
    body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode()
    fleet.publish(_host(fleet), body)
    fleet.await_quarantined(body)
    fleet.cast(_host(fleet), source, snapshot_id)
    fleet.promises[snapshot_id] = "available"
    fleet.await_idle()
    with fleet.engine.connect() as conn:
        query = sa.text("SELECT id FROM quarantine WHERE body = :body")
        return snapshot_id, str(conn.execute(query, {"body": body}).scalar_one())


def register(fleet: Fleet) -> Action:
    """Return an action that registers a volume with an idempotency key, and checks that it has one record."""
    key = str(uuid.uuid4())
    requests_sent = 0
    name = fleet.files(_host(fleet)).plant_volume(f"disk-{key}")
    body = {"volume": {"host": f"{_host(fleet)}@pool", "ref": {"source-name": name}}}

    def act() -> None:
        nonlocal requests_sent
        with suppress(*CUT_OFF):
            answer = fleet.request("/os-volume-manage", body, key)
            assert answer.status_code == 202, answer.text
            assert fleet.count("SELECT count(*) FROM volumes WHERE reference LIKE :name", name=f"%{name}%") == 1
            if requests_sent:
                until(available, f"{name} to be available")
        requests_sent += 1

    def available() -> bool:
        query = "SELECT count(*) FROM volumes WHERE reference LIKE :name AND status = 'available'"
        return fleet.count(query, name=f"%{name}%") == 1

    return act


def fail_to_register_long_ago(fleet: Fleet) -> str:
    """Register a volume that does not exist, wait until its record has failed, and make the record old."""
    body = {"volume": {"host": f"{_host(fleet)}@pool", "ref": {"source-name": f"nowhere-{uuid.uuid4()}"}}}
    answer = fleet.request("/os-volume-manage", body)
    assert answer.status_code == 202, answer.text
    volume_id = str(answer.json()["volume"]["id"])
    failed = "SELECT count(*) FROM volumes WHERE id = :id AND status = 'error'"
    until(lambda: fleet.count(failed, id=volume_id) == 1, f"{volume_id} to be in error")
    with fleet.engine.begin() as conn:
        old = {"id": volume_id, "then": datetime(2020, 1, 1)}  # noqa: DTZ001 - the column has no time zone
        conn.execute(sa.text("UPDATE volumes SET updated_at = :then, step_at = :then WHERE id = :id"), old)
    return volume_id


def _once(fleet: Fleet, send: Callable[[bytes], None]) -> Action:
    """Return an action that sends unreadable bytes; the next call waits until they are in the quarantine."""
    body = f"garbage {uuid.uuid4()}".encode()
    sent: list[bytes] = []

    def act() -> None:
        if sent:
            fleet.await_quarantined(body)
        else:
            send(body)
            sent.append(body)

    return act


def _fail(fleet: Fleet, name: str) -> str:
    """Return the id of a snapshot in error, whose object the backend doesn't have."""
    failed = ManageAction(fleet, _host(fleet), fleet.storages[_host(fleet)].name_of(name), ends_as="error")
    failed()
    fleet.await_idle()
    return failed.snapshot_id


def _host(fleet: Fleet) -> str:
    return next(iter(fleet.storages))


def _plant(fleet: Fleet) -> str:
    return fleet.storages[_host(fleet)].plant(uuid.uuid4().hex)
