"""From a configuration file to a managed snapshot: each example of the documentation, with a real server process."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import pytest

from snapmanage.core.backend import GIB
from snapmanage.testing.services.deployment import Deployment, Surroundings, deployed
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.contract.labs import MAKERS
from tests.example_sections import ExampleSection, example_sections
from tests.services import purity

SHIPPED = {each.name for each in entry_points(group="snapmanage.drivers") if each.value.startswith("snapmanage.")}
# The driver `fake` holds its snapshots in the server's memory, where no test can look.
ON_STORAGE = SHIPPED - {"fake"}
# The page on how to write a driver shows the section of a driver that does not exist.
SECTIONS = [section for section in example_sections() if section.driver in ON_STORAGE]


class Storage(Protocol):
    """A backend with a volume, its snapshots, and their names as the backend itself reports them."""

    volume: str

    def name_of(self, word: str) -> str: ...

    def add_snapshot(self, name: str) -> None: ...

    def names(self) -> set[str]: ...


@dataclass(frozen=True)
class Changes:
    """The changes for an example in a laboratory: other values, more lines, and surroundings."""

    values: Mapping[str, object]
    more: Mapping[str, object] = field(default_factory=dict)
    surroundings: Surroundings = field(default_factory=Surroundings)

    def apply_to(self, section: ExampleSection) -> str:
        return section.with_values(self.values) + "".join(f"{name} = {value}\n" for name, value in self.more.items())


class PureArray:
    """The array of the fake of Pure's library, as a file."""

    volume = "disk-1"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "array.json"
        self._write({"volumes": {self.volume: GIB}, "snapshots": {}})

    def name_of(self, word: str) -> str:
        return f"{self.volume}.{word}"

    def add_snapshot(self, name: str) -> None:
        array = json.loads(self.file.read_text())
        self._write(array | {"snapshots": array["snapshots"] | {name: GIB}})

    def names(self) -> set[str]:
        return set(json.loads(self.file.read_text())["snapshots"])

    def _write(self, array: Mapping[str, Any]) -> None:
        self.file.write_text(json.dumps(array))


def in_folder(lab: Any) -> Changes:
    return Changes({"directory": lab.folder})


def on_lvm(lab: Any) -> Changes:
    return Changes({"volume_group": lab.group.name}, {"lvm_system_dir": lab.group.system_dir})


def on_ceph(lab: Any) -> Changes:
    return Changes({"rbd_pool": lab.pool}, {"rbd_ceph_conf": lab.ceph.conf, "rbd_user": "admin"})


def on_btrfs(lab: Any) -> Changes:
    [uuid] = [
        word for word in lab.btrfs.btrfs("filesystem", "show", str(lab.btrfs.top)).split() if word.count("-") == 4
    ]
    return Changes({"btrfs_folder": lab.folder, "btrfs_uuid": uuid})


def on_zfs(lab: Any) -> Changes:
    namespace = ("nsenter", f"--mount=/proc/{lab.zfs.pid}/ns/mnt")
    return Changes({"zfs_dataset": lab.dataset}, surroundings=Surroundings(namespace))


def on_pure(array: Any) -> Changes:
    library = {"PYTHONPATH": str(Path(purity.__file__).parent)}
    return Changes({"san_ip": array.file}, surroundings=Surroundings(environment=library))


@contextmanager
def pure_array(_: pytest.FixtureRequest, folder: Path) -> Iterator[PureArray]:
    yield PureArray(folder)


def on_cinder_lvm(lab: Any) -> Changes:
    # Cinder's driver reads lvm2's folder only from the environment.
    folder = {"LVM_SYSTEM_DIR": str(lab.group.system_dir)}
    return Changes({"volume_group": lab.group.name}, surroundings=Surroundings(environment=folder))


# For each driver, or vendor driver: a function that makes its storage, and one that adapts the example to it.
WORLDS: dict[str, tuple[Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Any]], Callable[[Any], Changes]]]
WORLDS = {
    "file": (MAKERS["file"], in_folder),
    "qcow2": (MAKERS["qcow2"], in_folder),
    "lvm": (MAKERS["lvm-thin"], on_lvm),
    "rbd": (MAKERS["rbd"], on_ceph),
    "btrfs": (MAKERS["btrfs"], on_btrfs),
    "zfs": (MAKERS["zfs"], on_zfs),
    "cinder.volume.drivers.pure.PureISCSIDriver": (pure_array, on_pure),
    "cinder.volume.drivers.lvm.LVMVolumeDriver": (MAKERS["lvm-thick"], on_cinder_lvm),
}


@pytest.fixture(params=SECTIONS, ids=str)
def section(request: pytest.FixtureRequest) -> ExampleSection:
    shown: ExampleSection = request.param
    return shown


@pytest.fixture
def world(section: ExampleSection, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Storage, Changes]]:
    make, adapt = WORLDS[section.vendor or section.driver]
    with make(request, tmp_path) as storage:
        yield storage, adapt(storage)


@pytest.fixture
def deployment(
    world: tuple[Storage, Changes],
    section: ExampleSection,
    tmp_path: Path,
    rabbitmq: RabbitMQ,
    mariadb: MariaDB,
    exchange: str,
) -> Iterator[Deployment]:
    _, changes = world
    services = (rabbitmq.url, exchange, mariadb.database())
    with deployed(tmp_path, *services, changes.apply_to(section), section.name, changes.surroundings) as running:
        yield running


def assert_reconciled(deployment: Deployment) -> None:
    compared = deployment.manage("reconcile")
    note = f"The records of {deployment.server} agree with their backends.\n"
    assert (compared.returncode, compared.stdout, compared.stderr) == (0, "", note)


def test_every_driver_has_an_example() -> None:
    assert {section.driver for section in SECTIONS} == ON_STORAGE


def test_server_with_the_example_manages_and_unmanages_a_snapshot(
    deployment: Deployment, world: tuple[Storage, Changes]
) -> None:
    storage, _ = world
    name = storage.name_of("daily")
    storage.add_snapshot(name)
    volume_id = deployment.register(storage.volume)
    listed = deployment.get(f"/os-snapshot-manage/detail?host={deployment.server}")["manageable-snapshots"]
    assert [(entry["reference"], entry["reason_not_safe"]) for entry in listed] == [({"source-name": name}, None)]

    snapshot_id = deployment.request_manage(volume_id, name)

    assert deployment.await_settled(snapshot_id) == "available"
    assert [managed for managed in storage.names() if snapshot_id in managed] == list(storage.names())
    assert_reconciled(deployment)

    deployment.unmanage(snapshot_id)

    assert storage.names() == {name}
    assert_reconciled(deployment)
