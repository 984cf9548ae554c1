"""A server refuses to start while a policy of the broker loses messages, and names the policy."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from snapmanage.testing import needs
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import BACKEND, SERVER, configuration
from snapmanage.testing.services.process import free_port, running, unique
from snapmanage.testing.services.rabbitmq import PROGRAMS
from snapmanage.testing.waiting import until
from tests.services.managed_rabbitmq import MANAGED, ManagedRabbitMQ

BIN = Path(sys.executable).parent


@pytest.fixture(params=MANAGED, ids=lambda kind: kind.__name__, scope="module")
def broker(request: pytest.FixtureRequest) -> Iterator[ManagedRabbitMQ]:
    needs.require(*PROGRAMS)
    with running(request.param) as service:
        yield service


class Host:
    """The configuration of a host, and its commands."""

    def __init__(self, broker: ManagedRabbitMQ, folder: Path) -> None:
        self.topic = unique("volume")
        self.folder = folder
        (folder / "pool").mkdir()
        self.write(broker.management_url, broker.url)

    def write(self, management_url: str, transport_url: str) -> None:
        default = f"transport_url = {transport_url}\nbroker_management_url = {management_url}\n"
        default += f"volume_topic = {self.topic}\nnotification_topics = {self.topic}-events"
        backends = {BACKEND: f"driver = file\ndirectory = {self.folder}/pool"}
        database_url = f"sqlite:///{self.folder}/snapmanage.db"
        text = configuration(backends, unique("exchange"), database_url, default)
        (self.folder / "snapmanage.conf").write_text(text)
        assert self.daemon("manage").run("db", "sync").returncode == 0

    def daemon(self, main: str) -> Daemon:
        command = [str(BIN / f"snapmanage-{main}"), "--config-file", str(self.folder / "snapmanage.conf")]
        return Daemon(main, command, self.folder / f"{main}.log", is_warm=True)


@pytest.fixture
def host(broker: ManagedRabbitMQ, tmp_path: Path) -> Host:
    return Host(broker, tmp_path)


@contextmanager
def policy(broker: ManagedRabbitMQ, pattern: str, definition: str) -> Iterator[str]:
    name = unique("policy")
    url = f"{broker.management_url}/api/policies/%2F/{name}"
    body = {"pattern": pattern, "definition": json.loads(definition), "apply-to": "queues"}
    requests.put(url, json=body, timeout=10).raise_for_status()
    try:
        yield name
    finally:
        requests.delete(url, timeout=10).raise_for_status()


# Policies that lose messages of every queue; no declaration prevents this.
LOSING = {"message-ttl": '{"message-ttl": 60000}', "expires": '{"expires": 60000}'}


@pytest.mark.parametrize(("key", "definition"), LOSING.items(), ids=LOSING.keys())
@pytest.mark.parametrize("main", ["volume", "audit"])
def test_server_refuses_to_start_while_a_policy_loses_messages(
    broker: ManagedRabbitMQ, host: Host, main: str, key: str, definition: str
) -> None:
    with policy(broker, ".*", definition) as name:
        refused = host.daemon(main).run()

    assert refused.returncode == 1
    [line] = [each for each in refused.stderr.splitlines() if each.startswith("error:")]
    assert f"'{name}'" in line
    assert key in line
    assert "Remedy" in line


def test_harmless_policy_prevents_no_start(broker: ManagedRabbitMQ, host: Host) -> None:
    limits = '{"delivery-limit": 3, "message-ttl": 60000, "max-length": 1000, "dead-letter-exchange": "elsewhere"}'
    with policy(broker, f"^{host.topic}", limits):
        server = host.daemon("volume")

        assert server.start() == f"ready: {SERVER}"

        server.close()


def test_broker_check_reports_each_policy_that_loses_messages(broker: ManagedRabbitMQ, host: Host) -> None:
    with policy(broker, f"^{host.topic}.{SERVER}$", '{"max-length": 10, "overflow": "drop-head"}') as name:
        found = host.daemon("manage").run("broker", "check")

    assert found.returncode == 2
    assert [line.split(":")[0] for line in found.stdout.splitlines()] == ["LOSES"]
    assert f"'{name}'" in found.stdout
    # The management API shows a change after some seconds.
    until(lambda: host.daemon("manage").run("broker", "check").returncode == 0, "the check to report no policy", 60)


def test_unreachable_management_api_prevents_no_start_and_is_logged(broker: ManagedRabbitMQ, host: Host) -> None:
    host.write(f"http://guest:guest@127.0.0.1:{free_port()}", broker.url)
    server = host.daemon("volume")

    assert server.start() == f"ready: {SERVER}"

    server.close()
    assert "policies were not checked" in server.log.read_text()
    assert host.daemon("manage").run("broker", "check").returncode == 1
