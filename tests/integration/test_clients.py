"""The field's own clients, unchanged, against a running service: each does the main job as its users do.

The service is `snapmanage standalone` on a folder of images; each test has a volume of its own in it.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import openstack
import pytest
import requests
from cinderclient import client as cinder
from cinderclient.contrib.noauth import CinderNoAuthPlugin
from cinderclient.exceptions import ClientException
from cinderclient.exceptions import NotFound as CinderNotFound
from openstack.exceptions import ConflictException, NotFoundException

from snapmanage.testing.services.deployment import PROJECT, Daemon
from snapmanage.testing.services.process import unique
from snapmanage.testing.waiting import until

BIN = Path(sys.executable).parent
HOST = "localhost@files"
SNAPSHOTS = ("daily", "monthly", "weekly")


class Service:
    """The running service, and the folder that is its backend."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "backend"
        self.images.mkdir()
        command = [str(BIN / "snapmanage"), "standalone", "--data-dir", str(folder), "--listen", "127.0.0.1:0"]
        self.daemon = Daemon("standalone", command, folder / "standalone.log")
        self.url = self.daemon.start().split()[1]
        self.endpoint = f"{self.url}/{PROJECT}"

    def add_volume(self) -> str:
        """A new image with three snapshots, by its name."""
        name = unique("disk")
        for file in (name, *(f"{name}@{word}" for word in SNAPSHOTS)):
            (self.images / file).write_bytes(b"data")
        return name

    def names(self, volume: str) -> set[str]:
        return {file.name.partition("@")[2] for file in self.images.glob(f"{volume}@*")}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("standalone"))
    try:
        yield running
    finally:
        running.daemon.close()


@pytest.fixture
def disk(service: Service) -> str:
    return service.add_volume()


def available(status: Callable[[], str], what: str) -> None:
    until(lambda: status() == "available", f"{what} to be available")


def status(service: Service, path: str) -> str:
    """The status of a record without a client, whose commands take a second each."""
    answer = requests.get(f"{service.endpoint}/{path}", timeout=30)
    return "gone" if answer.status_code == 404 else str(next(iter(answer.json().values()))["status"])


def shell(program: str, *arguments: str, environment: Mapping[str, str]) -> str:
    """What a client's command prints; its failure fails the test with what it said."""
    known = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONWARNINGS": "ignore"} | dict(environment)
    ended = subprocess.run([BIN / program, *arguments], env=known, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{program} {arguments}: {ended.stderr}"
    return ended.stdout


# python-cinderclient, the library.


@pytest.fixture
def cinder_client(service: Service) -> Any:
    from keystoneauth1.session import Session

    plugin = CinderNoAuthPlugin("ann", PROJECT, endpoint=service.url)
    return cinder.Client("3.17", session=Session(auth=plugin))


def test_cinder_s_library_manages_lists_and_gives_back(service: Service, cinder_client: Any, disk: str) -> None:
    volume = cinder_client.volumes.manage(HOST, {"source-name": disk}, name=disk)
    available(lambda: str(cinder_client.volumes.get(volume.id).status), disk)

    made = cinder_client.volume_snapshots.manage(volume.id, {"source-name": f"{disk}@daily"}, metadata={"k": "v"})
    available(lambda: str(cinder_client.volume_snapshots.get(made.id).status), made.id)
    listed = cinder_client.volume_snapshots.list_manageable(HOST, detailed=True)

    assert [each.cinder_id for each in listed if each.reference["source-name"] == f"{disk}@snapshot-{made.id}"] == [
        made.id
    ]
    assert [each.id for each in cinder_client.volume_snapshots.list(search_opts={"volume_id": volume.id})] == [made.id]
    assert cinder_client.volume_snapshots.get(made.id).metadata == {"k": "v"}
    with pytest.raises(ClientException, match="managed already"):
        cinder_client.volume_snapshots.manage(volume.id, {"source-name": f"{disk}@daily"})

    cinder_client.volume_snapshots.unmanage(made.id)

    with pytest.raises(CinderNotFound):
        until(lambda: cinder_client.volume_snapshots.get(made.id) is None, "the snapshot to be given back")
    assert service.names(disk) == set(SNAPSHOTS)


def test_cinder_s_library_goes_on_behind_a_marker_by_pages_of_the_limit(cinder_client: Any, disk: str) -> None:
    def listed(**asked: Any) -> list[str]:
        entries = cinder_client.volume_snapshots.list_manageable(HOST, detailed=False, sort="reference:asc", **asked)
        return [str(each.reference["source-name"]) for each in entries]

    whole = listed()
    behind = whole[whole.index(f"{disk}@daily") + 1 :]

    # It follows links whatever the limit, which is no more than the size of a page to it.
    assert listed(marker=json.dumps({"source-name": f"{disk}@daily"}), limit=1) == behind
    assert listed(offset=len(whole) - len(behind)) == behind


# python-cinderclient, the shell.


@pytest.fixture
def cinder_shell(service: Service) -> Callable[..., str]:
    environment = {
        "OS_AUTH_TYPE": "noauth",
        "OS_USER_ID": "ann",
        "OS_PROJECT_ID": PROJECT,
        "CINDER_ENDPOINT": service.url,
        "OS_VOLUME_API_VERSION": "3.8",
    }
    return lambda *arguments: shell("cinder", *arguments, environment=environment)


def test_cinder_s_shell_manages_lists_and_gives_back(
    service: Service, cinder_shell: Callable[..., str], disk: str
) -> None:
    volume_id = field(cinder_shell("manage", HOST, disk, "--name", disk), "id")
    available(lambda: status(service, f"volumes/{volume_id}"), disk)

    made = field(cinder_shell("snapshot-manage", volume_id, f"{disk}@daily", "--name", f"{disk}-daily"), "id")
    available(lambda: status(service, f"snapshots/{made}"), made)

    assert field(cinder_shell("snapshot-show", f"{disk}-daily"), "id") == made
    assert made in cinder_shell("snapshot-list", "--volume-id", volume_id)
    assert f"{disk}@weekly" in cinder_shell("snapshot-manageable-list", HOST, "--detailed", "False")
    assert made in cinder_shell("snapshot-manageable-list", HOST, "--detailed", "True")

    cinder_shell("snapshot-unmanage", f"{disk}-daily")

    until(lambda: status(service, f"snapshots/{made}") == "gone", "the snapshot to be given back")
    assert service.names(disk) == set(SNAPSHOTS)


def test_cinder_s_shell_shows_why_a_snapshot_is_in_error(
    service: Service, cinder_shell: Callable[..., str], disk: str
) -> None:
    volume_id = field(cinder_shell("manage", HOST, disk), "id")
    available(lambda: status(service, f"volumes/{volume_id}"), disk)
    made = field(cinder_shell("snapshot-manage", volume_id, f"{disk}@nowhere"), "id")
    until(lambda: status(service, f"snapshots/{made}") == "error", "the snapshot to fail")

    told = cinder_shell("message-list", "--resource_uuid", made)

    assert "SNAPSHOT_MANAGE_SOURCE_NOT_FOUND" in told


def field(table: str, name: str) -> str:
    """The value of a property in a table of the shell's."""
    rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines() if "|" in line)
    return dict(row for row in rows if len(row) == 2)[name]


# openstacksdk.


@pytest.fixture
def sdk(service: Service) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it deplores itself
        connection = openstack.connect(
            auth_type="none",
            auth={"endpoint": service.endpoint},
            block_storage_default_microversion="3.8",
            load_yaml_config=False,
            load_envvars=False,
        )
        yield connection.block_storage
        connection.close()


def test_openstacksdk_manages_lists_and_gives_back(service: Service, sdk: Any, disk: str) -> None:
    volume = sdk.manage_volume(host=HOST, ref={"source-name": disk}, name=disk)
    available(lambda: str(sdk.get_volume(volume.id).status), disk)

    made = sdk.manage_snapshot(volume_id=volume.id, ref={"source-name": f"{disk}@daily"}, name=f"{disk}-daily")
    available(lambda: str(sdk.get_snapshot(made.id).status), made.id)

    assert sdk.find_snapshot(f"{disk}-daily", ignore_missing=False).id == made.id
    assert [each.id for each in sdk.snapshots(volume_id=volume.id)] == [made.id]
    with pytest.raises(ConflictException):
        sdk.manage_snapshot(volume_id=volume.id, ref={"source-name": f"{disk}@daily"})

    sdk.unmanage_snapshot(made.id)

    with pytest.raises(NotFoundException):
        until(lambda: sdk.get_snapshot(made.id) is None, "the snapshot to be given back")
    assert service.names(disk) == set(SNAPSHOTS)


@pytest.mark.parametrize("limit", [None, 1, 2, 1000])
def test_openstacksdk_goes_through_all_pages_and_comes_to_an_end(sdk: Any, disk: str, limit: int | None) -> None:
    asked = {} if limit is None else {"limit": limit}

    listed = [each.reference["source-name"] for each in sdk.manageable_snapshots(details=True, host=HOST, **asked)]

    assert len(listed) == len(set(listed))
    assert {f"{disk}@{word}" for word in SNAPSHOTS} <= set(listed)


# python-openstackclient.


@pytest.fixture
def osc(service: Service) -> Callable[..., Any]:
    environment = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": service.endpoint, "OS_VOLUME_API_VERSION": "3.8"}

    def run(*arguments: str, shown: bool = True) -> Any:
        said = shell("openstack", *arguments, *(["-f", "json"] if shown else []), environment=environment)
        return json.loads(said) if shown else said

    return run


def test_openstackclient_manages_lists_and_gives_back(service: Service, osc: Callable[..., Any], disk: str) -> None:
    volume = ["volume", "create", disk, "--remote-source", f"source-name={disk}", "--host", HOST]
    volume_id = osc(*volume)["id"]
    available(lambda: status(service, f"volumes/{volume_id}"), disk)

    snapshot = [f"{disk}-daily", "--volume", disk, "--remote-source", f"source-name={disk}@daily"]
    made = osc("volume", "snapshot", "create", *snapshot)["id"]
    available(lambda: status(service, f"snapshots/{made}"), made)
    listed = osc("block", "storage", "snapshot", "manageable", "list", HOST, "--long", "--sort", "reference:asc")

    assert [each["cinder_id"] for each in listed if each["reference"]["source-name"].startswith(f"{disk}@s")] == [made]
    assert made in [each["ID"] for each in osc("volume", "snapshot", "list", "--volume", disk)]

    osc("volume", "snapshot", "delete", "--remote", f"{disk}-daily", shown=False)

    until(lambda: status(service, f"snapshots/{made}") == "gone", "the snapshot to be given back")
    assert service.names(disk) == set(SNAPSHOTS)
