"""A damaged object of ZFS hides no other object from the listing."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendObject, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.zfs import scan
from snapmanage.drivers.zfs.driver import ZfsDriver
from tests.contract.labs.zfs import ZfsLab
from tests.contract.zfs.helpers import bind, new_binding, replace_zfs


def test_damaged_dataset_has_an_entry_and_the_others_are_listed(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.add_snapshot(f"{lab.dataset}@of-all")
    lab.damage(lab.volume)

    listed = {found.name: found.unsafe for found in lab.driver.list_snapshots()}
    rest = lab.driver.find_snapshot(Reference.named(f"{lab.dataset}@*"))
    volumes = {found.name: found.unsafe for found in lab.driver.list_volumes()}
    other_volumes = lab.driver.find_volume(Reference.named(f"{lab.dataset}/*"))

    assert volumes == {lab.dataset: None, other_volumes.name: Unsafe.UNUSABLE}
    assert other_volumes.unsafe_reason == rest.unsafe_reason
    assert listed == {f"{lab.dataset}@of-all": None, rest.name: Unsafe.UNUSABLE}
    with pytest.raises(errors.Unusable, match="I/O error"):
        refuse_unsafe(rest)
    for act in (lambda: lab.driver.manage_snapshot(binding), lambda: bind(lab, binding.original_name)):
        with pytest.raises(errors.BackendError, match="zpool status -v"):
            act()


def test_mounted_datasets_are_listed_despite_damage_beside_them(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = [lab.volume, *(lab.add_volume(f"volume-{number}") for number in range(2, 8))]
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.dataset}@of-all")
    lab.damage(lab.volume)
    # zfs-fuse runs in a mount namespace of its own.
    monkeypatch.setattr(scan, "visible_datasets", lambda *_: datasets)

    listed = {found.name for found in lab.driver.list_snapshots()}

    undamaged = {f"{dataset}@of-all" for dataset in (lab.dataset, *datasets[1:])}
    assert listed == undamaged | {f"{lab.dataset}@*"}


def test_listing_without_damage_has_no_entry_for_it(lab: ZfsLab) -> None:
    with pytest.raises(errors.InvalidReference):
        lab.driver.find_snapshot(Reference.named(f"{lab.dataset}@*"))
    with pytest.raises(errors.InvalidReference):
        lab.driver.find_volume(Reference.named(f"{lab.dataset}/*"))
    assert {found.name for found in lab.driver.list_volumes()} == {lab.dataset, lab.volume}


def test_object_without_usable_properties_is_unusable_and_the_others_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"type": "snapshot", "creation": "1", "guid": "5", "createtxg": "9", "objsetid": "7"}
    values |= {"referenced": "0", "volsize": "-", "userrefs": "-", "defer_destroy": "off"}
    odd = {"tank/v": {"type": "filesystem"}, "tank/v@odd": {"guid": "-", "creation": "-"}, "tank/v@well": {}}
    odd |= {"tank/v/odd": {"type": "filesystem", "guid": "-"}, "tank/v/disk": {"type": "volume", "volsize": "7"}}
    lines = [f"{name}\t{key}\t{value}" for name, more in odd.items() for key, value in (values | more).items()]
    replace_zfs(tmp_path, monkeypatch, "\n".join(lines), "", 0)
    driver = ZfsDriver("tank/v", zfs_delegated=True)

    listed = {found.name: (found.unsafe, found.identity) for found in driver.list_snapshots()}

    assert listed == {
        "tank/v@odd": (Unsafe.UNUSABLE, "unreadable:tank/v@odd"),
        "tank/v@well": (None, "5-9-7"),
    }
    volumes = {found.name: (found.unsafe, found.size_bytes, dict(found.extra)) for found in driver.list_volumes()}
    assert volumes == {
        "tank/v": (None, 0, {"type": "filesystem"}),
        "tank/v/odd": (Unsafe.UNUSABLE, 0, {}),
        "tank/v/disk": (None, 7, {"type": "volume"}),
    }
    assert set(driver.locate((), {"tank/v@odd"})) == {BackendObject("tank/v@odd", "")}
    with pytest.raises(errors.BackendError, match="'tank/v@odd' can't be read"):
        driver.manage_snapshot(Binding("5-9-7", "tank/v@odd", "tank/v@managed"))
