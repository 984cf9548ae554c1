"""Cinder's own code reads the answers that snapmanage gives to its API."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from snapmanage.drivers.fake import FakeDriver
from tests.functional.client import SERVER
from tests.functional.world import running_world

VOLUME, SNAPSHOT = "volume-1", "volume-1-snapshot-1"


READ_OBJECTS = """
import json, sys
from cinder import objects
from cinder.objects.base import CinderObjectSerializer
objects.register_all()
read = CinderObjectSerializer().deserialize_entity(None, json.load(sys.stdin))
print(json.dumps([[type(each).__name__, each.reference, each.size, each.safe_to_manage] for each in read]))
"""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("get_manageable_volumes", ["ManageableVolume", {"source-name": VOLUME}, 1, True]),
        ("get_manageable_snapshots", ["ManageableSnapshot", {"source-name": SNAPSHOT}, 1, True]),
    ],
)
def test_cinder_itself_reads_the_objects_of_a_list(tmp_path: Path, method: str, expected: list[object]) -> None:
    arguments = {"marker": None, "limit": 1, "offset": 0, "sort_keys": ["reference"], "sort_dirs": ["asc"]}

    with running_world(tmp_path, {SERVER: FakeDriver(fake_snapshots=1)}) as world:
        entries = world.bus.call_version(SERVER, "3.10", method, arguments | {"want_objects": True})

    # Cinder imports eventlet, which the process of the tests refuses.
    command = [sys.executable, "-c", READ_OBJECTS]
    ended = subprocess.run(command, input=json.dumps(entries), capture_output=True, check=True, text=True, timeout=120)
    assert json.loads(ended.stdout.splitlines()[-1]) == [expected]
