"""The disk under SQLite is full: a client gets 503 with Retry-After, and no accepted request is lost."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from snapmanage.testing.needs import require
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until

MIB = 1024**2
VOLUME = "disk"


class SmallDisk:
    """A file system of 8 MiB, with snapmanage standalone in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.filler = folder / "filler"
        images = folder / "backend"
        images.mkdir()
        for name in (VOLUME, f"{VOLUME}@daily", f"{VOLUME}@weekly"):
            (images / name).write_bytes(b"data")
        program = str(Path(sys.executable).parent / "snapmanage")
        command = [program, "standalone", "--data-dir", str(folder), "--listen", "127.0.0.1:0"]
        # The output goes to another disk, so that it is complete.
        self.daemon = Daemon("standalone", command, folder.with_name("standalone.log"))
        self.url = f"{self.daemon.start().split()[1]}/{PROJECT}"

    def fill(self) -> None:
        with self.filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def manage(self, volume_id: str, name: str) -> requests.Response:
        body = {"snapshot": {"volume_id": volume_id, "ref": f"{VOLUME}@{name}"}}
        return requests.post(f"{self.url}/os-snapshot-manage", json=body, timeout=60)

    def attempts(self, volume_id: str) -> Iterator[requests.Response]:
        """Send requests for missing snapshots; the disk may still have room for some of them."""
        return (self.manage(volume_id, f"nowhere-{number}") for number in range(1000))

    def status(self, path: str) -> str:
        [shown] = requests.get(f"{self.url}/{path}", timeout=60).json().values()
        return str(shown.get("status"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    require("mount", "umount", root=True)
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={8 * MIB},mode=700", "tmpfs", folder], check=True)
    try:
        small = SmallDisk(folder)
        try:
            yield small
        finally:
            small.daemon.close()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_request_on_a_full_disk_gets_503_and_is_accepted_when_there_is_room(disk: SmallDisk) -> None:
    registered = requests.post(
        f"{disk.url}/os-volume-manage", json={"volume": {"host": "localhost@files", "ref": VOLUME}}, timeout=60
    )
    volume_id = registered.json()["volume"]["id"]
    until(lambda: disk.status(f"volumes/{volume_id}") == "available", "the volume to be available")
    managed = disk.manage(volume_id, "daily").json()["snapshot"]["id"]
    until(lambda: disk.status(f"snapshots/{managed}") == "available", "the snapshot to be available")

    disk.fill()
    accepted, refused = list[str](), None
    for answer in disk.attempts(volume_id):
        if answer.status_code != 202:
            refused = answer
            break
        accepted.append(answer.json()["snapshot"]["id"])

    assert refused is not None
    assert refused.status_code == 503, refused.text
    assert int(refused.headers["Retry-After"]) > 0
    assert disk.status(f"snapshots/{managed}") == "available"

    disk.filler.unlink()
    weekly = disk.manage(volume_id, "weekly").json()["snapshot"]["id"]

    until(lambda: disk.status(f"snapshots/{weekly}") == "available", "the snapshot to be available")
    until(
        lambda: {disk.status(f"snapshots/{each}") for each in accepted} <= {"error"},
        "the missing snapshots to be in error",
    )
