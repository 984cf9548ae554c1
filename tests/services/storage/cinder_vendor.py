"""Vendor drivers of Cinder for an array that is a JSON file; they behave unlike the drivers for LVM and Ceph.

They run in the child's interpreter, like every vendor driver, and are named in `volume_driver`. Files beside the
array's file cause failures: `hang` makes every listing hang, `fail-after-rename` makes managing fail after the rename,
and `hang-after-rename` makes the next rename hang after it is done. With `cycle` an answer contains itself, with
`malformed-log` a log record has wrong arguments and a thread fails, and with `reveal` the password is in a log record
and in an error.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cinder import exception
from cinder.volume import driver
from oslo_config import cfg

LOG = logging.getLogger(__name__)

OPTIONS = [
    cfg.StrOpt("array_file"),
    cfg.IntOpt("array_port", default=443),
    cfg.MultiStrOpt("array_target", default=[]),
    cfg.StrOpt("array_password", secret=True),
]


class ArrayDriver(driver.VolumeDriver):  # type: ignore[misc]  # cinder has no annotations
    """A vendor driver that, like most, ignores the given name and makes one of the record's id."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.configuration.append_config_values(OPTIONS)
        self._file = Path(self.configuration.array_file)

    def check_for_setup_error(self) -> None:
        if not self._file.exists():
            raise exception.VolumeBackendAPIException(data="the array doesn't answer")

    def get_manageable_snapshots(self, managed: Any, *page: Any) -> list[dict[str, Any]]:
        LOG.warning("Listing port %s.", self.configuration.array_port)
        while self._file.with_name("hang").exists():
            time.sleep(0.01)
        self._misbehave()
        owners = {self._name_for(snapshot): snapshot["id"] for snapshot in managed}
        with self._array() as array:
            found = [self._entry(name, volume, owners.get(name)) for name, volume in array["snapshots"].items()]
        if self._file.with_name("cycle").exists():
            found[0]["extra_info"]["self"] = found
        return found

    def get_manageable_volumes(self, managed: Any, *page: Any) -> list[dict[str, Any]]:
        with self._array() as array:
            return [self._volume(name) for name in array["volumes"]]

    def manage_existing_snapshot_get_size(self, snapshot: Any, existing_ref: Any) -> int:
        if existing_ref["source-name"].startswith("own-"):
            raise exception.ManageExistingInvalidReference(existing_ref=existing_ref, reason="it is managed")
        return 2

    def manage_existing_snapshot(self, snapshot: Any, existing_ref: Any) -> None:
        self._rename(existing_ref["source-name"], self._name_for(snapshot))
        if self._file.with_name("fail-after-rename").exists():
            raise exception.VolumeBackendAPIException(data="the rename is done, the rest isn't")

    def unmanage_snapshot(self, snapshot: Any) -> None:
        self._rename(self._name_for(snapshot), f"unmanaged-{snapshot.id}")

    def _name_for(self, snapshot: Any) -> str:
        return f"own-{snapshot.id}"

    def _rename(self, old: str, new: str) -> None:
        with self._array() as array:
            if new in array["snapshots"] or old not in array["snapshots"]:
                raise exception.VolumeBackendAPIException(data=f"can't rename {old} to {new}")
            array["snapshots"][new] = array["snapshots"].pop(old)
        if self._file.with_name("hang-after-rename").exists():
            self._file.with_name("hang-after-rename").unlink()
            time.sleep(60)

    def _misbehave(self) -> None:
        if self._file.with_name("malformed-log").exists():
            LOG.warning("%d %d", "one")
            failing = threading.Thread(target=self._fail)
            failing.start()
            failing.join()
        if self._file.with_name("reveal").exists():
            LOG.warning("login %s", self.configuration.array_password)
            data = f"login {self.configuration.array_password} {[self.configuration.array_password]}"
            raise exception.VolumeBackendAPIException(data=data)

    def _fail(self) -> None:
        raise ValueError(f"\x1b[2J {self.configuration.array_password}")

    def _volume(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"reference": {"name": name}, "size": 2, "safe_to_manage": True}
        if name.startswith("attached"):
            entry |= {"safe_to_manage": False, "reason_not_safe": "volume in use", "extra_info": {"port": 7}}
        return entry

    def _entry(self, name: str, volume: str, owner: str | None) -> dict[str, Any]:
        return {
            "reference": {"name": name},
            "size": 2,
            "safe_to_manage": owner is None and not name.startswith("mapped"),
            "reason_not_safe": "it is in use" if name.startswith("mapped") else None,
            "cinder_id": owner,
            "extra_info": {"port": self.configuration.array_port, "targets": self.configuration.array_target},
            "source_reference": {"name": volume},
        }

    @contextmanager
    def _array(self) -> Iterator[dict[str, Any]]:
        self.check_for_setup_error()
        array = json.loads(self._file.read_text())
        yield array
        self._file.write_text(json.dumps(array))


class RenamingDriver(ArrayDriver):
    """A vendor driver that renames to any given name, and lists names without ids."""

    def manage_existing_snapshot_get_size(self, snapshot: Any, existing_ref: Any) -> int:
        return 2

    def unmanage_snapshot(self, snapshot: Any) -> None:
        LOG.warning("Unmanaged %s.", snapshot["name"])

    def _name_for(self, snapshot: Any) -> str:
        return str(snapshot["name"])


class BlindDriver(driver.VolumeDriver):  # type: ignore[misc]  # cinder has no annotations
    """A vendor driver that can't list snapshots."""

    def check_for_setup_error(self) -> None:
        pass
