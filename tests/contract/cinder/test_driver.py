"""The adapter for vendor drivers, on an array with habits that the drivers for LVM and Ceph don't have."""

import json
import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reconciliation import Kind
from snapmanage.core.reference import Reference
from snapmanage.drivers.cinder import vendors
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.drivers.cinder.vendors import Vendor
from snapmanage.drivers.protocol import Section
from snapmanage.manage import reconciliation
from snapmanage.testing.waiting import until
from tests.contract.worlds import world_of
from tests.functional.world import SERVER

VENDOR = "tests.services.cinder_vendor"
TEMPLATE = "snapshot-%s"


class Array:
    """An array, and its vendor driver, which starts once for many tests."""

    def __init__(self, folder: Path, kind: str = "ArrayDriver") -> None:
        self.folder = folder
        self.kind = kind
        self.file = folder / "array.json"
        self.driver = self.configured()

    def configured(self, python: str = "", **options: list[str]) -> CinderDriver:
        values = {"array_file": [str(self.file)], **options}
        return CinderDriver(f"{VENDOR}.{self.kind}", python, 60, Section("array", values, TEMPLATE))

    def tidied(self) -> "Array":
        for file in self.folder.iterdir():
            file.unlink()
        self.holds({"daily": "disk-1", "weekly": "disk-1"})
        return self

    def holds(self, snapshots: dict[str, str]) -> None:
        self.file.write_text(json.dumps({"volumes": ["disk-1"], "snapshots": snapshots}))

    @property
    def names(self) -> set[str]:
        return set(json.loads(self.file.read_text())["snapshots"])

    @property
    def child(self) -> Any:
        """Return the running process of the vendor driver."""
        self.driver.check()
        return self.driver.process.child

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Give calls half a second inside the block."""
        self.driver.check()
        self.driver.process.deadline_seconds = 0.5
        yield
        self.driver.process.deadline_seconds = 60

    def found(self, name: str = "daily") -> BackendSnapshot:
        return self.driver.find_snapshot(Reference.named(name))

    def bound(self, name: str = "daily") -> Binding:
        snapshot = self.found(name)
        return Binding(snapshot.identity, name, self.driver.managed_name(snapshot, TEMPLATE % uuid.uuid4()))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Array]:
    made = Array(tmp_path_factory.mktemp("array"))
    yield made
    made.driver.close()


@pytest.fixture
def array(started: Array) -> Array:
    return started.tidied()


@pytest.fixture(scope="module")
def started_pliant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Array]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vendors, "VENDORS", {f"{VENDOR}.": Vendor(renames_to_any_name=True, unmanage_undoes_more=True)})
        made = Array(tmp_path_factory.mktemp("array"), "PliantDriver")
    yield made
    made.driver.close()


@pytest.fixture
def pliant(started_pliant: Array) -> Array:
    """An array whose vendor driver renames to any name, and lists no identities."""
    return started_pliant.tidied()


@pytest.fixture(scope="module")
def optioned(started: Array) -> Iterator[CinderDriver]:
    """A driver whose section has options of the vendor driver, started once for the tests that don't rename."""
    port, target, password = ["8443"], ["one", "two"], ["hunter2"]
    with closing(started.configured(array_port=port, array_target=target, array_password=password)) as driver:
        yield driver


def record_of(binding: Binding) -> str:
    return binding.managed_name.removeprefix(TEMPLATE % "")


# The vendor driver and its process.


def test_vendor_driver_reads_its_own_options(array: Array, optioned: CinderDriver) -> None:
    snapshot = optioned.find_snapshot(Reference.named("daily"))

    assert snapshot.extra == {"port": "8443", "targets": "['one', 'two']"}


def test_cinder_is_not_imported_into_this_process(array: Array) -> None:
    array.driver.check()

    assert sys.modules.get("eventlet") is None
    assert "cinder" not in sys.modules
    assert "backend_defaults" not in cfg.CONF


def test_secret_option_is_on_no_command_line_and_no_disk(array: Array, optioned: CinderDriver) -> None:
    optioned.check()
    child = optioned.process.child
    assert child
    public = [Path(f"/proc/{child.pid}/cmdline"), Path(f"/proc/{child.pid}/environ")]
    files = [path for path in Path(child.folder).rglob("*") if path.is_file()]

    assert not [path for path in (*public, *files) if b"hunter2" in path.read_bytes()]


def test_log_records_of_the_vendor_driver_are_forwarded(array: Array, caplog: pytest.LogCaptureFixture) -> None:
    array.driver.list_snapshots()

    assert (VENDOR, logging.WARNING, "Listing port 443.") in caplog.record_tuples


def test_hanging_call_is_killed_at_its_deadline_and_the_next_is_answered(array: Array) -> None:
    hang = array.folder / "hang"
    hang.touch()

    with array.impatient(), pytest.raises(errors.BackendUnavailable, match="cinder_timeout_seconds"):
        array.driver.list_snapshots()
    hang.unlink()

    assert len(array.driver.list_snapshots()) == 2


def test_call_fails_when_its_process_is_killed_and_the_next_is_answered(array: Array) -> None:
    hang, child = array.folder / "hang", array.child
    hang.touch()

    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(array.driver.list_snapshots)
        until(lambda: child.pending_calls, "the call to be sent")
        os.kill(child.pid, signal.SIGKILL)
        failure = call.exception(20)
    hang.unlink()

    assert isinstance(failure, errors.BackendUnavailable)
    assert len(array.driver.list_snapshots()) == 2


def test_vendor_driver_ends_when_snapmanage_is_killed(array: Array) -> None:
    program = (
        "import time; from snapmanage.drivers.protocol import Section\n"
        "from snapmanage.drivers.cinder.driver import CinderDriver\n"
        f"section = Section('array', {{'array_file': [{str(array.file)!r}]}}, {TEMPLATE!r})\n"
        f"driver = CinderDriver({f'{VENDOR}.ArrayDriver'!r}, section=section); driver.check()\n"
        "child = driver.process.child; print(child.pid, child.folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        child, folder = owner.stdout.readline().split()
        owner.kill()

    until(lambda: not Path(f"/proc/{child}").exists(), "the vendor driver to end")
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("volume_driver", "reason"),
    [
        ("", "volume_driver"),
        (f"{VENDOR}.NoDriver", "NoDriver"),
        ("absent.module.Driver", "absent"),
        (f"{VENDOR}.BlindDriver", "can't list snapshots"),
        ("cinder.volume.drivers.hpe.hpe_3par_iscsi.HPE3PARISCSIDriver", "Cinder hasn't named"),
    ],
)
def test_unusable_vendor_driver_is_a_configuration_error_with_the_reason(volume_driver: str, reason: str) -> None:
    driver = CinderDriver(volume_driver)

    with pytest.raises(errors.ConfigurationError, match=reason):
        driver.check()


@pytest.mark.parametrize("python", [f"{sys.base_prefix}/bin/python3", "/absent/python"])
def test_interpreter_without_cinder_is_a_configuration_error(array: Array, python: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        array.configured(python=python).check()


# Vendor drivers that choose names themselves.


def test_snapshot_is_found_by_its_record_if_the_vendor_driver_chooses_the_name(array: Array) -> None:
    binding = array.bound()

    first = array.driver.manage_snapshot(binding)
    second = array.driver.manage_snapshot(binding)

    assert first == second
    assert (first.name, first.identity) == (binding.managed_name, binding.identity)
    assert array.names == {f"own-{record_of(binding)}", "weekly"}


def test_vendor_driver_unmanages_only_once(array: Array) -> None:
    binding = array.bound()
    array.driver.manage_snapshot(binding)

    array.driver.unmanage_snapshot(binding)
    array.driver.unmanage_snapshot(binding)

    assert array.names == {f"unmanaged-{record_of(binding)}", "weekly"}


def test_finished_rename_counts_though_the_vendor_driver_failed_afterwards(array: Array) -> None:
    binding = array.bound()
    (array.folder / "worn").touch()

    assert array.driver.manage_snapshot(binding).name == binding.managed_name


def test_finished_rename_counts_though_the_vendor_driver_was_killed_afterwards(array: Array) -> None:
    binding, child, dying = array.bound(), array.child, array.folder / "dying"
    dying.touch()

    with ThreadPoolExecutor(1) as worker:
        managing = worker.submit(array.driver.manage_snapshot, binding)
        until(lambda: not dying.exists(), "the rename to be done and the vendor driver to hang")
        os.kill(child.pid, signal.SIGKILL)
        managed = managing.result(60)

    assert managed.name == binding.managed_name
    assert array.names == {f"own-{record_of(binding)}", "weekly"}


def test_refusal_of_the_vendor_driver_is_final_and_quoted(array: Array) -> None:
    array.holds({f"own-{uuid.uuid4()}": "disk-1"})
    [snapshot] = array.driver.list_snapshots()

    with pytest.raises(errors.InvalidReference, match="it is managed"):
        array.found(snapshot.name)


def test_snapshot_that_the_vendor_driver_lists_as_unsafe_is_not_renamed(array: Array) -> None:
    array.holds({"mapped": "disk-1"})
    binding = array.bound("mapped")

    assert array.found("mapped").unsafe is Unsafe.IN_USE
    with pytest.raises(errors.InUse):
        refuse_unsafe(array.found("mapped"))
    with pytest.raises(errors.InUse):
        array.driver.manage_snapshot(binding)
    assert array.names == {"mapped"}


def test_unreachable_array_is_an_error_and_an_empty_one_is_not(array: Array) -> None:
    array.holds({})
    assert array.driver.list_snapshots() == []
    array.file.unlink()

    with pytest.raises(errors.BackendUnavailable, match="doesn't answer"):
        array.driver.list_snapshots()


# Vendor drivers that list only names.


def test_name_is_the_identity_if_there_is_no_other(pliant: Array) -> None:
    binding = pliant.bound()

    managed = pliant.driver.manage_snapshot(binding)
    assert (managed.name, managed.identity) == (binding.managed_name, binding.identity)
    assert pliant.driver.manage_snapshot(binding) == managed
    assert pliant.names == {binding.managed_name, "weekly"}

    pliant.driver.unmanage_snapshot(binding)
    assert pliant.names == {"daily", "weekly"}


def test_name_of_a_managed_snapshot_is_refused_to_other_requests(pliant: Array) -> None:
    binding = pliant.bound()
    pliant.driver.manage_snapshot(binding)

    with pytest.raises(errors.AlreadyManaged):
        pliant.found(binding.managed_name)


def test_new_snapshot_under_the_original_name_is_not_confused_with_the_managed_one(pliant: Array) -> None:
    binding = pliant.bound()
    pliant.driver.manage_snapshot(binding)
    pliant.holds({binding.managed_name: "disk-1", "daily": "disk-1"})

    assert pliant.driver.manage_snapshot(binding).name == binding.managed_name
    with pytest.raises(errors.NameTaken):
        pliant.driver.unmanage_snapshot(binding)
    assert pliant.names == {binding.managed_name, "daily"}


def test_name_of_a_volume_is_taken(pliant: Array) -> None:
    snapshot = pliant.found()
    pliant.holds({"daily": "disk-1", "disk-1": "disk-1"})

    with pytest.raises(errors.NameTaken):
        pliant.driver.manage_snapshot(Binding(snapshot.identity, "daily", "disk-1"))


def test_vendor_drivers_unmanage_is_called_only_after_a_rename_back(
    pliant: Array, caplog: pytest.LogCaptureFixture
) -> None:
    binding = pliant.bound()
    pliant.driver.unmanage_snapshot(binding)
    assert "Unmanaged daily." not in caplog.messages
    pliant.driver.manage_snapshot(binding)

    pliant.driver.unmanage_snapshot(binding)

    assert "Unmanaged daily." in caplog.messages


# Locating objects under any name.


def test_managed_snapshot_is_located_by_its_name_alone(pliant: Array) -> None:
    binding = pliant.bound()
    pliant.driver.manage_snapshot(binding)

    located = pliant.driver.locate({binding.identity}, {binding.managed_name})

    assert located == [BackendObject(binding.managed_name, "")]


def test_managed_snapshot_is_located_though_the_vendor_driver_chose_its_name(array: Array) -> None:
    binding = array.bound()
    array.driver.manage_snapshot(binding)

    located = array.driver.locate({binding.identity}, {binding.managed_name})
    array.holds({"weekly": "disk-1"})

    assert located == [BackendObject(binding.managed_name, "")]
    assert array.driver.locate({binding.identity}, {binding.managed_name}) == []


def test_snapshot_that_is_now_listed_as_a_volume_is_located_but_not_unmanaged(pliant: Array) -> None:
    binding = pliant.bound()
    pliant.driver.manage_snapshot(binding)
    pliant.file.write_text(json.dumps({"volumes": ["disk-1", binding.managed_name], "snapshots": {}}))

    assert pliant.driver.locate((), {binding.managed_name}) == [BackendObject(binding.managed_name, "")]
    with pytest.raises(errors.Unusable, match="rename it to 'daily'"):
        pliant.driver.unmanage_snapshot(binding)


def test_reconciliation_reports_a_snapshot_as_gone_only_if_its_name_is_gone(pliant: Array, tmp_path: Path) -> None:
    with world_of(tmp_path, pliant.driver) as world:
        snapshot_id = world.managed(world.known_volume("disk-1"), "daily")

        assert reconciliation.differences(world.db, SERVER, pliant.driver) == []
        pliant.holds({"weekly": "disk-1"})
        [gone] = reconciliation.differences(world.db, SERVER, pliant.driver)

    assert (gone.kind, gone.snapshot.id) == (Kind.VANISHED, snapshot_id)
