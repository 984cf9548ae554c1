"""The vendor driver for Pure Storage, over a stand-in for the vendor's library: names, renames and sizes."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, Binding, refuse_foreign
from snapmanage.core.reference import Reference
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.drivers.protocol import Section
from tests.services import purity

TEMPLATE = "snapshot-%s"
LIBRARY = Path(purity.__file__).parent


@pytest.fixture
def array(tmp_path: Path) -> Path:
    file = tmp_path / "array.json"
    volumes = {"disk-1": 2 * GIB, "disk-2": GIB}
    file.write_text(json.dumps({"volumes": volumes, "snapshots": {"disk-1.daily": 2 * GIB, "disk-2.daily": GIB}}))
    return file


@pytest.fixture
def driver(array: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CinderDriver]:
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))
    section = Section("pure", {"san_ip": [str(array)], "pure_api_token": ["token"]}, TEMPLATE)
    with closing(CinderDriver("cinder.volume.drivers.pure.PureISCSIDriver", "", 60, section)) as made:
        yield made


def names(array: Path) -> set[str]:
    return set(json.loads(array.read_text())["snapshots"])


def find(driver: CinderDriver) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named("disk-1.daily"))


def test_snapshot_is_renamed_within_its_volume_and_back(driver: CinderDriver, array: Path) -> None:
    snapshot = find(driver)
    record_id = str(uuid.uuid4())
    binding = Binding(snapshot.identity, snapshot.name, driver.managed_name(snapshot, TEMPLATE % record_id))

    managed = driver.manage_snapshot(binding)
    assert driver.manage_snapshot(binding) == managed
    assert names(array) == {f"disk-1.snapshot-{record_id}", "disk-2.daily"}

    driver.unmanage_snapshot(binding)
    driver.unmanage_snapshot(binding)
    assert names(array) == {"disk-1.daily", "disk-2.daily"}


def test_snapshot_is_described_with_its_volume_and_size(driver: CinderDriver) -> None:
    other = driver.find_volume(Reference.named("disk-2"))
    snapshot = find(driver)

    assert (snapshot.parent, snapshot.size_bytes) == ("disk-1", 2 * GIB)
    assert snapshot in driver.list_snapshots()
    with pytest.raises(errors.WrongVolume):
        refuse_foreign(snapshot, other.name, other.identity)


def test_unreachable_array_is_a_backend_error_until_it_answers_again(driver: CinderDriver, array: Path) -> None:
    snapshot = find(driver)
    array.rename(array.with_name("unreachable"))

    with pytest.raises(errors.BackendError):
        driver.list_snapshots()
    array.with_name("unreachable").rename(array)

    assert find(driver) == snapshot
