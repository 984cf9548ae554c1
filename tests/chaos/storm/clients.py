"""Patient clients in a storm: each repeats its request until an answer arrives."""

import queue
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import amqp
import kombu.exceptions
import requests

from tests.chaos.fleet.fleet import Fleet

PATIENCE_SECONDS = 240
PAUSE_SECONDS = 0.2


class Client:
    """A thread that carries out the tasks of a queue until it finds None; `answers` counts the answers by kind."""

    def __init__(
        self, fleet: Fleet, queued: "queue.Queue[Callable[[Client], None] | None]", answers: Counter[str]
    ) -> None:
        self.fleet = fleet
        self.failure = ""
        self._queued = queued
        self._answers = answers
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self.is_busy:
            self.failure = "STUCK: a client still waits for its answer"

    @property
    def is_busy(self) -> bool:
        """Whether the client has tasks left, or waits for an answer."""
        return self._thread.is_alive()

    def manage(self, host: str, source: str, key: str, ends_as: str) -> str:
        body = {"snapshot": {"volume_id": self.fleet.volumes[host], "ref": {"source-name": source}}}
        answer = self._until_answered(lambda: self.fleet.request("/os-snapshot-manage", body, key), (202,))
        snapshot_id = str(answer.json()["snapshot"]["id"])
        self.fleet.promises.setdefault(snapshot_id, ends_as)
        return snapshot_id

    def unmanage(self, snapshot_id: str) -> None:
        """Repeat the request until it is accepted, or until the snapshot is being unmanaged or is unknown."""
        path = f"/snapshots/{snapshot_id}/action"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            answer = self._until_answered(lambda: self.fleet.request(path, {"os-unmanage": {}}), (202, 400, 404))
            if answer.status_code != 400 or "is unmanaging" in answer.text:
                self.fleet.promises[snapshot_id] = "deleted"
                return
            time.sleep(PAUSE_SECONDS)
        raise AssertionError(f"STUCK: {snapshot_id} can't be unmanaged: {answer.text}")

    def cast(self, host: str, source: str, snapshot_id: str) -> None:
        """Send a cast until the broker confirms it; an unconfirmed cast may have arrived too."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                self.fleet.cast(host, source, snapshot_id)
            except (OSError, amqp.AMQPError, kombu.exceptions.KombuError):
                self._answers["unconfirmed"] += 1
                time.sleep(PAUSE_SECONDS)
            else:
                self.fleet.promises[snapshot_id] = "available"
                self._answers["confirmed"] += 1
                return
        raise AssertionError(f"STUCK: the broker didn't confirm the cast of {snapshot_id}")

    def _until_answered(self, send: Callable[[], requests.Response], expected: tuple[int, ...]) -> requests.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = send()
            except requests.RequestException as error:
                self._answers[type(error).__name__] += 1
            else:
                self._answers[str(answer.status_code)] += 1
                if answer.status_code in expected:
                    return answer
                assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("STUCK: a request was never answered")

    def _run(self) -> None:
        try:
            while (task := self._queued.get()) is not None:
                task(self)
        except Exception as error:  # noqa: BLE001 - the storm reports any failure
            self.failure = f"a client failed: {error!r}"


Task = Callable[[Client], None]


def tasks(fleet: Fleet, chance: random.Random, number: int) -> Iterator[Task]:
    """Yield tasks: most manage a snapshot over REST or by a cast, some manage a missing one, some unmanage it again."""
    for serial in range(number):
        host = chance.choice(list(fleet.storages))
        key = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        yield chance.choices([_manage, _cast, _manage_nothing, _manage_and_unmanage], [70, 15, 7, 8])[0](
            fleet, host, f"s{serial:05}", key
        )


def _manage(fleet: Fleet, host: str, name: str, key: str) -> Task:
    source = fleet.storages[host].plant(name)
    return lambda client: _none(client.manage(host, source, key, "available"))


def _cast(fleet: Fleet, host: str, name: str, key: str) -> Task:
    source = fleet.storages[host].plant(name)
    return lambda client: client.cast(host, source, key)


def _manage_nothing(fleet: Fleet, host: str, name: str, key: str) -> Task:
    return lambda client: _none(client.manage(host, fleet.storages[host].name_of(f"no-{name}"), key, "error"))


def _manage_and_unmanage(fleet: Fleet, host: str, name: str, key: str) -> Task:
    source = fleet.storages[host].plant(name)
    return lambda client: client.unmanage(client.manage(host, source, key, "available"))


def _none(value: object) -> None:
    """Drop a value; the fleet's promises already have the result."""
