"""Thin snapshots that lost their origin: `reconcile --fix` keeps those that exist, and fixes those that don't."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from tests.contract.worlds import world_of
from tests.functional.client import SERVER
from tests.functional.cmd.programs import run
from tests.functional.world import World


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    privsep.start()
    with metadata_group(tmp_path) as group:
        group.add_pool()
        group.add_thin_volumes("volume")
        group.add_thin_snapshots("volume", "marked", "unmarked")
        group.lvm("lvchange", "--setactivationskip", "n", f"{group.name}/unmarked")
        yield group


@pytest.fixture
def world(group: MetadataGroup, tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path, LvmDriver(group.name, str(group.system_dir), 30)) as made:
        yield made


@pytest.fixture
def managed_ids(world: World, group: MetadataGroup) -> list[str]:
    """Manage both snapshots, remove their origin, and return their ids."""
    volume_id = world.register_volume("volume")
    ids = [world.manage_snapshot(volume_id, name) for name in ("marked", "unmarked")]
    group.remove_thin("volume")
    return ids


def reconcile(group: MetadataGroup, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run `snapmanage-manage reconcile --fix` on the world's database and on the group."""
    host, _, backend = SERVER.partition("@")
    file = folder / "snapmanage.conf"
    file.write_text(
        f"[DEFAULT]\nhost = {host}\nenabled_backends = {backend}\n"
        f"[database]\nconnection = sqlite:///{folder}/snapmanage.db\n"
        f"[{backend}]\ndriver = lvm\nvolume_group = {group.name}\nlvm_system_dir = {group.system_dir}\n"
    )
    return run("snapmanage-manage", "--config-file", file, "reconcile", "--fix")


def test_snapshots_without_their_origin_agree_with_their_records(
    managed_ids: list[str], world: World, group: MetadataGroup, tmp_path: Path
) -> None:
    ended = reconcile(group, tmp_path)

    note = f"The records of {SERVER} agree with their backends.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", note)
    assert [world.client.snapshot(each)["status"] for each in managed_ids] == ["available", "available"]


def test_only_the_removed_snapshot_of_two_without_their_origin_is_fixed(
    managed_ids: list[str], world: World, group: MetadataGroup, tmp_path: Path
) -> None:
    marked, unmarked = managed_ids
    group.remove_thin(f"_snapshot-{marked}")

    ended = reconcile(group, tmp_path)

    [difference, fix] = ended.stdout.splitlines()
    assert ended.returncode == 2
    assert difference.startswith(f"VANISHED: snapshot {marked} on {SERVER}: ")
    assert fix == "  Requested to unmanage it."
    assert world.client.snapshot(unmarked)["status"] == "available"


def test_snapshot_without_its_origin_and_its_mark_gets_its_original_name_back(
    managed_ids: list[str], world: World, group: MetadataGroup
) -> None:
    for each in managed_ids:
        world.client.unmanage(each)
        world.await_unmanaged(each)

    assert group.names() >= {"marked", "unmarked"}
