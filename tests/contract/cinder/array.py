"""An array that is a JSON file, with a vendor driver that behaves unlike the drivers for LVM and Ceph."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.drivers.protocol import Section

VENDOR = "tests.services.storage.cinder_vendor"
TEMPLATE = "snapshot-%s"


class Array:
    """An array and its vendor driver; the vendor driver starts once for many tests."""

    def __init__(self, folder: Path, kind: str = "ArrayDriver") -> None:
        self.folder = folder
        self.kind = kind
        self.file = folder / "array.json"
        self.driver = self.make_driver()

    def make_driver(self, python: str = "", **options: list[str]) -> CinderDriver:
        values = {"array_file": [str(self.file)], **options}
        return CinderDriver(f"{VENDOR}.{self.kind}", python, 60, Section("array", values, TEMPLATE))

    def reset(self) -> "Array":
        for file in self.folder.iterdir():
            file.unlink()
        self.write_snapshots({"daily": "disk-1", "weekly": "disk-1"})
        return self

    def write_snapshots(self, snapshots: dict[str, str], volumes: Sequence[str] = ("disk-1",)) -> None:
        self.file.write_text(json.dumps({"volumes": volumes, "snapshots": snapshots}))

    @property
    def names(self) -> set[str]:
        return set(json.loads(self.file.read_text())["snapshots"])

    @property
    def child(self) -> Any:
        """Return the running process of the vendor driver."""
        self.driver.check()
        return self.driver.process.child

    @contextmanager
    def short_deadline(self) -> Iterator[None]:
        """Set the deadline of calls inside the block to half a second."""
        self.driver.check()
        self.driver.process.deadline_seconds = 0.5
        yield
        self.driver.process.deadline_seconds = 60

    def find(self, name: str = "daily") -> BackendSnapshot:
        return self.driver.find_snapshot(Reference.named(name))

    def bind(self, name: str = "daily") -> Binding:
        snapshot = self.find(name)
        return Binding(snapshot.identity, name, self.driver.managed_name(snapshot, TEMPLATE % uuid.uuid4()))


def record_of(binding: Binding) -> str:
    return binding.managed_name.removeprefix(TEMPLATE % "")
