"""Listings of ZFS: the snapshots of all datasets, their identities and parents."""

import subprocess
import uuid

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.protocol import Section
from snapmanage.drivers.zfs.driver import ZfsDriver
from snapmanage.testing.waiting import until
from tests.contract.labs.zfs import ZfsLab
from tests.contract.zfs.helpers import bind, new_binding


def test_snapshots_of_all_datasets_beneath_and_no_others_are_listed(lab: ZfsLab) -> None:
    for dataset in (f"{lab.volume}/inner", f"{lab.dataset}-other"):
        lab.zfs.run("zfs", "create", dataset)
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.pool}@all")

    listed = {found.name: found.parent for found in lab.driver.list_snapshots()}

    datasets = (lab.dataset, lab.volume, f"{lab.volume}/inner")
    assert listed == {f"{dataset}@all": dataset for dataset in datasets}


def test_snapshot_outside_of_the_dataset_is_not_found(lab: ZfsLab) -> None:
    lab.zfs.run("zfs", "create", f"{lab.dataset}-other")
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.pool}@all")

    for name in (f"{lab.pool}@all", f"{lab.dataset}-other@all"):
        with pytest.raises(errors.SourceNotFound, match="within"):
            lab.driver.find_snapshot(Reference.named(name))


def test_replica_has_the_guid_of_the_original_and_an_identity_of_its_own(lab: ZfsLab) -> None:
    new_binding(lab)

    lab.send([], "daily", f"{lab.dataset}/replica")

    identities = [found.identity for found in lab.driver.list_snapshots()]
    assert len(set(identities)) == 2
    assert len({identity.partition("-")[0] for identity in identities}) == 1


def test_two_replicas_that_were_received_in_one_transaction_have_two_identities(lab: ZfsLab) -> None:
    new_binding(lab)

    twins = lab.add_twins("daily")

    identities = {lab.driver.find_snapshot(Reference.named(name)).identity for name in twins}
    assert len(identities) == 2
    listed = lab.driver.list_snapshots()
    assert len({each.identity for each in listed}) == len(listed)


def test_snapshot_of_a_promoted_clone_has_a_new_parent_and_its_old_identity(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.zfs.run("zfs", "clone", binding.original_name, f"{lab.dataset}/clone")

    lab.zfs.run("zfs", "promote", f"{lab.dataset}/clone")

    [found] = lab.driver.list_snapshots()
    assert (found.identity, found.parent) == (binding.identity, f"{lab.dataset}/clone")


def test_snapshot_keeps_its_identity_through_rename_of_its_dataset_and_reimport_of_its_pool(lab: ZfsLab) -> None:
    binding = new_binding(lab)

    lab.zfs.run("zfs", "rename", lab.volume, f"{lab.dataset}/renamed")
    lab.go_away()
    lab.come_back()

    [found] = lab.driver.list_snapshots()
    assert (found.identity, found.parent) == (binding.identity, f"{lab.dataset}/renamed")


def test_snapshot_whose_managed_name_would_be_too_long_is_unusable(lab: ZfsLab) -> None:
    own, managed = 1, len(f"snapshot-{uuid.uuid4()}")
    fits = f"{lab.dataset}/{'x' * (255 - len(lab.dataset) - 2 - managed)}"
    names = [f"{dataset}@y" for dataset in (fits, f"{fits}x")]
    for name in names:
        lab.zfs.run("zfs", "create", name[: -1 - own])
        lab.add_snapshot(name)

    listed = {found.name: found.unsafe for found in lab.driver.list_snapshots()}

    assert listed == {names[0]: None, names[1]: Unsafe.UNUSABLE}
    lab.driver.manage_snapshot(bind(lab, names[0]))
    with pytest.raises(errors.Unusable, match="longer than the 255 characters"):
        refuse_unsafe(lab.driver.find_snapshot(Reference.named(names[1])))


def test_length_of_a_name_does_not_matter_without_renames(lab: ZfsLab) -> None:
    dataset = f"{lab.dataset}/{'x' * (252 - len(lab.dataset))}"
    lab.zfs.run("zfs", "create", dataset)
    lab.add_snapshot(f"{dataset}@y")

    [found] = ZfsDriver(lab.dataset, section=Section("tank")).list_snapshots()

    assert found.unsafe is None


def test_dataset_that_is_being_received_is_not_a_snapshot_and_hides_none(lab: ZfsLab) -> None:
    new_binding(lab)
    zfs = f"{lab.zfs.path}/zfs"
    stream = subprocess.run([zfs, "send", lab.name_of("daily")], capture_output=True, check=True).stdout
    target = f"{lab.dataset}/half"
    with subprocess.Popen([zfs, "receive", target], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as receiving:
        assert receiving.stdin is not None
        receiving.stdin.write(stream[: len(stream) // 2])
        receiving.stdin.flush()
        until(lambda: target in lab.zfs.run("zfs", "list", "-H", "-o", "name"), "the receive to begin")
        listed = [found.name for found in lab.driver.list_snapshots()]
        receiving.stdin.close()

    assert listed == [lab.name_of("daily")]


def test_odd_shapes_have_unique_identities_and_parents_that_can_be_registered(lab: ZfsLab) -> None:
    lab.add_oddities()

    listed = lab.driver.list_snapshots()

    assert {found.name for found in listed} == lab.names()
    assert len({found.identity for found in listed}) == len(listed)
    for found in listed:
        assert lab.driver.find_volume(Reference.named(found.parent or "")).identity == found.parent_identity
        if found.unsafe is None:
            assert lab.driver.manage_snapshot(bind(lab, found.name)).identity == found.identity
