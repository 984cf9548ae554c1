"""Identities of ZFS in records of earlier releases are renewed."""

from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage.core.backend import Binding
from snapmanage.drivers.zfs.driver import ZfsDriver
from tests.contract.labs.zfs import ZfsLab
from tests.contract.zfs.helpers import bind, new_binding, replace_zfs


def old_form(binding: Binding) -> Binding:
    return replace(binding, identity=binding.identity.rpartition("-")[0])


def test_record_of_an_earlier_release_is_managed_and_unmanaged(lab: ZfsLab) -> None:
    binding = new_binding(lab)

    first = lab.driver.manage_snapshot(old_form(binding))
    again = lab.driver.manage_snapshot(old_form(binding))
    lab.driver.unmanage_snapshot(old_form(binding))
    lab.driver.unmanage_snapshot(old_form(binding))

    assert first == again
    assert (first.name, first.identity) == (binding.managed_name, binding.identity)
    assert lab.names() == {binding.original_name}


def test_identities_of_earlier_releases_are_renewed_by_either_name(lab: ZfsLab) -> None:
    managed, waiting = new_binding(lab, "one"), new_binding(lab, "other")
    lab.driver.manage_snapshot(managed)
    gone = Binding("5-9", lab.name_of("gone"), lab.name_of("snapshot-gone"))

    renewed = lab.driver.renewed_identities([old_form(managed), old_form(waiting), gone])

    assert renewed == {old_form(each).identity: each.identity for each in (managed, waiting)}


def test_record_keeps_its_own_replica_of_two_with_one_old_identity(lab: ZfsLab) -> None:
    new_binding(lab)
    for name in lab.add_twins("daily"):
        binding = bind(lab, name)
        lab.driver.manage_snapshot(old_form(binding))
        renewed = lab.driver.renewed_identities([old_form(binding)])
        lab.driver.unmanage_snapshot(old_form(binding))

        assert renewed == {old_form(binding).identity: binding.identity}


def test_identity_is_renewed_by_the_managed_name_after_a_dataset_was_renamed(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.driver.manage_snapshot(binding)
    lab.zfs.run("zfs", "rename", lab.volume, f"{lab.dataset}/renamed")

    assert lab.driver.renewed_identities([old_form(binding)]) == {old_form(binding).identity: binding.identity}


def test_identity_of_an_object_with_another_name_is_not_renewed(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.zfs.run("zfs", "rename", binding.original_name, lab.name_of("third"))

    assert lab.driver.renewed_identities([old_form(binding)]) == {}


def test_identities_are_renewed_despite_damage_of_another_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"type": "snapshot", "creation": "1", "guid": "5", "createtxg": "9", "objsetid": "7"}
    values |= {"referenced": "0", "volsize": "-", "userrefs": "-", "defer_destroy": "off"}
    lines = [f"{name}\t{key}\t{value}" for name in ("tank/v", "tank/v@well") for key, value in values.items()]
    replace_zfs(tmp_path, monkeypatch, "\n".join(lines), "cannot iterate filesystems: I/O error", 1)
    driver = ZfsDriver("tank/v", zfs_delegated=True)

    assert driver.renewed_identities([Binding("5-9", "tank/v@daily", "tank/v@well")]) == {"5-9": "5-9-7"}


def test_present_identities_need_neither_renewal_nor_a_command(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.go_away()

    assert lab.driver.renewed_identities([binding]) == {}
