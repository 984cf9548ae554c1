"""A deployment over TLS, with the lines of the pages and a user of the broker for each kind of process."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import BACKEND, SERVER, Deployment, configuration
from tests.page_blocks import HOW_TO, adapted, block
from tests.services.network.certificates import NAME, Certificate, Certificates
from tests.services.network.tls_services import PASSWORD, TlsRabbitMQ, client_files, page_line

BIN = Path(sys.executable).parent
EXCHANGE = "openstack"


class SeparateUsers(Deployment):
    """A deployment whose processes read a second file with their own `transport_url`."""

    def __init__(self, folder: Path, configuration: str, urls: Mapping[str, str]) -> None:
        super().__init__(folder, configuration)
        for kind, url in urls.items():
            (folder / f"{kind}.conf").write_text(f"[DEFAULT]\ntransport_url = {url}\n")

    def daemon(self, name: str, command: Sequence[str] | None = None) -> Daemon:
        own = [str(BIN / f"snapmanage-{name}"), "--config-file", str(self.folder / f"{name}.conf")]
        return super().daemon(name, command or own)


def broker_lines(certificates: Certificates, client: Certificate | None = None) -> str:
    """Return the page's section `[oslo_messaging_rabbit]`."""
    shown = block("tls.md", "RabbitMQ", "[oslo_messaging_rabbit]")
    return adapted(shown[shown.index("[oslo_messaging_rabbit]") :], client_files(certificates, client))


def permissions(user: str, page: str = "deploy.md") -> list[list[str]]:
    """Return the rights that a page gives to a user: configure, write and read, in the order of the page."""
    start = f"# rabbitmqctl set_permissions -p snapmanage {user} "
    lines = (HOW_TO / page).read_text().splitlines()
    return [shlex.split(line.removeprefix(start)) for line in lines if line.startswith(start)]


def topic_permissions(user: str, page: str = "deploy.md") -> list[str]:
    """Return the routing keys that a page lets a user write and read; empty if the page does not restrict them."""
    start = f"# rabbitmqctl set_topic_permissions -p snapmanage {user} {EXCHANGE} "
    lines = (HOW_TO / page).read_text().splitlines()
    return next((shlex.split(line.removeprefix(start)) for line in lines if line.startswith(start)), [])


def create_user(broker: TlsRabbitMQ, virtual_host: str, kind: str) -> str:
    """Create the page's user of a kind in a virtual host, and return `USER:PASSWORD`."""
    name = f"{kind}-of-{virtual_host}"
    broker.add_user(name, PASSWORD)
    broker.permit(virtual_host, name, permissions(kind)[0])
    if keys := topic_permissions(kind):
        broker.permit_topics(virtual_host, name, EXCHANGE, keys)
    return f"{name}:{PASSWORD}"


@contextmanager
def deployed_with_users(
    folder: Path, urls: Mapping[str, str], database_url: str, lines: str, separate_relay: bool = False
) -> Iterator[SeparateUsers]:
    """Run a deployment on a folder of images."""
    (folder / "images").mkdir()
    for name in ("disk", "disk@daily", "disk@weekly"):
        (folder / "images" / name).write_bytes(b"data")
    text = configuration({BACKEND: f"driver = file\ndirectory = {folder}/images"}, EXCHANGE, database_url)
    relay = f"[relay]\nin_process = {not separate_relay}\ninterval_seconds = 0.1\n"
    deployment = SeparateUsers(folder, text + relay + lines, urls)
    try:
        deployment.start()
        if separate_relay:
            deployment.daemon("relay").start()
        yield deployment
    finally:
        deployment.close()


def do_the_main_job(deployment: Deployment) -> None:
    """List a snapshot over the bus, manage it, find its events in the audit log, and unmanage it."""
    volume_id = deployment.register("disk")
    listed = deployment.get(f"/os-snapshot-manage/detail?host={SERVER}")["manageable-snapshots"]
    assert {entry["reference"]["source-name"] for entry in listed} == {"disk@daily", "disk@weekly"}

    snapshot_id = deployment.request_manage(volume_id, "disk@daily")

    assert deployment.await_settled(snapshot_id) == "available"
    assert len(deployment.audited_events(snapshot_id, "snapshot.manage.end")) == 2
    deployment.unmanage(snapshot_id)
    logs = "".join(path.read_text() for path in deployment.folder.glob("*.log"))
    assert PASSWORD not in logs
    assert [line for line in logs.splitlines() if "ERROR" in line or "refuse" in line] == []


def tls_url(broker: TlsRabbitMQ, login: str, virtual_host: str, host: str = NAME) -> str:
    """Return the page's URL for a user and a virtual host of the tests."""
    shown = page_line("RabbitMQ", "transport_url = ")
    place = f"{login}@{host}:{broker.tls_port}/{virtual_host}"
    return adapted(shown, {"snapmanage:BROKER_PASSWORD@rabbit.example:5671/snapmanage": place})
