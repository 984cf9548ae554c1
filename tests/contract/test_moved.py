"""Managed snapshots whose volume, dataset or folder was renamed: they are found, and get their original names back."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.manage.maintenance import reconciliation
from snapmanage.testing.lab import Lab
from tests.contract.worlds import world_of
from tests.functional.client import SERVER

# Renames the place of the laboratory's snapshots, and returns the new text before their own names.
Move = Callable[[Any, str], str]


def file_volume(lab: Any, name: str) -> str:
    own = name.partition("@")[2]
    (lab.folder / lab.volume).rename(lab.folder / "moved.img")
    (lab.folder / name).rename(lab.folder / f"moved.img@{own}")
    return "moved.img@"


def zfs_dataset(lab: Any, name: str) -> str:
    lab.zfs.run("zfs", "rename", lab.volume, f"{lab.dataset}/moved")
    return f"{lab.dataset}/moved@"


def btrfs_folder(lab: Any, name: str) -> str:
    (lab.folder / "snapshots").rename(lab.folder / "moved")
    return "moved/"


def rbd_image(lab: Any, name: str) -> str:
    lab.rbd.RBD().rename(lab.ioctx, lab.volume, "moved")
    return "moved@"


MOVES: dict[str, Move] = {
    "file": file_volume,
    "zfs": zfs_dataset,
    "btrfs": btrfs_folder,
    "rbd": rbd_image,
    "cinder-rbd": rbd_image,
}
with_moves = pytest.mark.parametrize(("lab", "move"), MOVES.items(), ids=list(MOVES), indirect=["lab"])


@with_moves
def test_moved_snapshot_gets_its_original_name_back_in_its_new_place(lab: Lab, move: Move) -> None:
    name = lab.name_of("daily")
    lab.add_snapshot(name)
    found = lab.driver.find_snapshot(Reference.named(name), lab.volume)
    binding = Binding(found.identity, name, lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))
    lab.driver.manage_snapshot(binding)
    place = move(lab, binding.managed_name)

    lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    located = lab.driver.locate({found.identity}, ())
    assert [each.name for each in located] == [f"{place}daily"]


@with_moves
def test_moved_snapshot_agrees_with_its_record(lab: Lab, move: Move, tmp_path: Path) -> None:
    name = lab.name_of("daily")
    lab.add_snapshot(name)
    with world_of(tmp_path, lab.driver) as world:
        snapshot_id = world.manage_snapshot(world.register_volume(lab.volume), name)
        move(lab, str(world.record(snapshot_id).backend_name))

        assert reconciliation.differences(world.db, SERVER, lab.driver) == []
