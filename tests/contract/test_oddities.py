"""Listings and reconciliation on a backend with every odd object that its laboratory can make.

A snapshot listed as safe can be managed. A snapshot that can't be managed is listed as unsafe, with the same reason. An
existing object is never reported as gone.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import cast

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding, refuse_foreign, refuse_unsafe
from snapmanage.core.maintenance.reconciliation import Kind
from snapmanage.core.reference import Reference
from snapmanage.manage.maintenance import reconciliation
from snapmanage.testing.lab import Lab, OddLab, OrphaningLab, has
from tests.contract.labs import labs_with
from tests.contract.worlds import world_of
from tests.functional.client import SERVER
from tests.functional.world import World

# `qcow2/test_oddities` tests the same for qcow2, and that every chain stays complete.
except_qcow2 = pytest.mark.parametrize("lab", [name for name in labs_with() if name != "qcow2"], indirect=True)


@pytest.fixture
def odd_lab(lab: Lab) -> OddLab:
    """Add the odd objects; every laboratory must have `add_oddities`."""
    odd = cast(OddLab, lab)
    odd.add_oddities()
    return odd


@pytest.fixture
def world(odd_lab: OddLab, tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path, odd_lab.driver) as made:
        yield made


def unlisted_names(lab: OddLab) -> Collection[str]:
    return getattr(lab, "unlisted", ())


def list_sorted(lab: Lab) -> list[BackendSnapshot]:
    return sorted(lab.driver.list_snapshots(), key=lambda found: found.name)


def names_and_identities(found: Iterable[BackendSnapshot]) -> list[tuple[str, str]]:
    return [(each.name, each.identity) for each in found]


def volume_for(lab: Lab, entry: BackendSnapshot) -> str:
    """Return the volume to name for a snapshot: its parent, or one that the driver accepts if there is no parent."""
    if entry.parent is not None:
        return entry.parent
    volumes: set[str] = {
        lab.volume,
        *(each.parent for each in list_sorted(lab) if each.parent),
        *getattr(lab, "volumes", ()),
    }
    reference = Reference.named(entry.name)
    accepted = (each for each in sorted(volumes) if lab.driver.find_snapshot(reference, each).parent in (None, each))
    return next(accepted)


def find_for_request(lab: Lab, entry: BackendSnapshot, volume: BackendVolume) -> Binding:
    """Do the steps of a request to manage a listed snapshot, on its listed volume, before the rename."""
    found = lab.driver.find_snapshot(Reference.named(entry.name), volume.name)
    refuse_foreign(found, volume.name, volume.identity)
    refuse_unsafe(found)
    return bind(lab, found)


def find_for_registration(lab: Lab, name: str) -> BackendVolume:
    """Return the volume of that name, as a request to register it does."""
    found = lab.driver.find_volume(Reference.named(name))
    refuse_unsafe(found)
    return found


def bind(lab: Lab, found: BackendSnapshot) -> Binding:
    return Binding(found.identity, found.name, lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def manage_by_name(lab: Lab, entry: BackendSnapshot) -> None:
    """Manage a listed snapshot, as a request does on a volume that is registered already."""
    found = lab.driver.find_snapshot(Reference.named(entry.name), entry.parent)
    refuse_unsafe(found)
    lab.driver.manage_snapshot(bind(lab, found))


def add_snapshot(lab: Lab, word: str) -> Binding:
    """Add a snapshot of the laboratory's volume and return its binding; it isn't managed yet."""
    name = lab.name_of(word)
    lab.add_snapshot(name)
    return bind(lab, lab.driver.find_snapshot(Reference.named(name), lab.volume))


def identity_if_manageable(lab: Lab, name: str) -> str | None:
    """Return the identity of the object with the name if the driver can manage it as a snapshot."""
    try:
        found = lab.driver.find_snapshot(Reference.named(name))
        lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}")
    except errors.Invalid:
        return None
    return found.identity if found.unsafe is None else None


def manage_all(world: World, lab: OddLab) -> dict[str, str]:
    """Manage all snapshots that are listed as safe, one after the other; return the record IDs by original name.

    The listing is read again if the rename of one snapshot has changed the entry of another.
    """
    records: dict[str, str] = {}
    volumes: dict[str, str] = {}
    owned: set[str] = set()
    while left := [each for each in list_sorted(lab) if each.unsafe is None and each.identity not in owned]:
        for entry in left:
            if entry.identity in owned or entry.parent in records:
                continue
            volume = volume_for(lab, entry)
            of = entry.parent_identity or lab.driver.find_volume(Reference.named(volume)).identity
            if of not in volumes:
                volumes[of] = world.register_volume(volume)
            records[entry.name] = world.manage_snapshot(volumes[of], entry.name)
            owned.add(entry.identity)
    return records


def reported_differences(world: World) -> list[tuple[Kind, str, str]]:
    found = reconciliation.differences(world.db, SERVER, world.driver)
    return [(each.kind, each.snapshot.id, each.text) for each in found]


@except_qcow2
def test_every_snapshot_listed_as_safe_is_managed_and_unmanaged(odd_lab: OddLab) -> None:
    before = list_sorted(odd_lab)
    safe = [entry for entry in before if entry.unsafe is None]
    volume = cache(lambda name: odd_lab.driver.find_volume(Reference.named(name)))

    for entry in safe:
        binding = find_for_request(odd_lab, entry, volume(volume_for(odd_lab, entry)))
        assert odd_lab.driver.manage_snapshot(binding).identity == entry.identity
        odd_lab.driver.unmanage_snapshot(binding)

    assert safe
    assert names_and_identities(list_sorted(odd_lab)) == names_and_identities(before)


def test_every_snapshot_listed_as_unsafe_is_refused_for_the_same_reason(odd_lab: OddLab) -> None:
    before = list_sorted(odd_lab)
    unsafe = [entry for entry in before if entry.unsafe is not None]

    # Simultaneous calls share a scan if the driver allows it.
    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(manage_by_name, odd_lab, entry) for entry in unsafe]

    for entry, call in zip(unsafe, calls, strict=True):
        with pytest.raises(errors.Invalid) as caught:
            call.result()
        assert entry.unsafe_reason
        assert entry.unsafe_reason in str(caught.value)
    assert names_and_identities(list_sorted(odd_lab)) == names_and_identities(before)


def test_every_snapshot_that_can_be_managed_by_name_is_listed(odd_lab: OddLab) -> None:
    safe = {entry.identity for entry in list_sorted(odd_lab) if entry.unsafe is None}

    names = list(getattr(odd_lab, "odd_names", odd_lab.names)())
    with ThreadPoolExecutor(8) as callers:
        found = dict(zip(names, callers.map(partial(identity_if_manageable, odd_lab), names), strict=True))

    # An object with several names is listed with one of them.
    missing = {name for name, identity in found.items() if identity and identity not in safe}
    assert missing == set(unlisted_names(odd_lab))


def test_every_volume_listed_as_safe_is_found_and_every_other_one_is_refused_for_the_same_reason(
    odd_lab: OddLab,
) -> None:
    listed = odd_lab.driver.list_volumes()

    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(find_for_registration, odd_lab, each.name) for each in listed]

    for each, call in zip(listed, calls, strict=True):
        if each.unsafe is None:
            assert call.result() == each
        else:
            assert each.unsafe_reason
            assert each.unsafe_reason in str(call.exception())


def test_volume_of_every_listed_snapshot_is_listed_or_is_refused(odd_lab: OddLab) -> None:
    volumes = {each.name: each.identity for each in odd_lab.driver.list_volumes()}
    parents = {each.parent: each.parent_identity for each in list_sorted(odd_lab) if each.parent}

    for parent in parents.keys() - volumes.keys():
        with pytest.raises(errors.Invalid):
            find_for_registration(odd_lab, parent)
    listed = {name: identity for name, identity in parents.items() if name in volumes and identity}
    assert listed == {name: volumes[name] for name in listed}


def test_snapshot_is_listed_as_a_volume_only_if_it_has_snapshots_of_its_own(odd_lab: OddLab) -> None:
    snapshots = list_sorted(odd_lab)

    both = {each.identity for each in odd_lab.driver.list_volumes()} & {each.identity for each in snapshots}

    entries_of_images = {each.identity for each in snapshots if each.parent == each.name}
    assert both - entries_of_images <= {each.parent_identity for each in snapshots}


def test_only_a_removed_snapshot_is_reported_as_gone_not_one_that_lost_its_volume(
    odd_lab: OddLab, world: World
) -> None:
    names = [odd_lab.name_of(word) for word in ("test-removed", "test-orphan")]
    for name in names:
        odd_lab.add_snapshot(name)
    managed = manage_all(world, odd_lab)
    removed, orphaned = (managed[name] for name in names)
    assert reported_differences(world) == []

    odd_lab.remove(str(world.record(removed).backend_name))
    if has(type(odd_lab), "orphan"):
        cast(OrphaningLab, odd_lab).orphan(str(world.record(orphaned).backend_name))

    assert [(kind, gone) for kind, gone, _ in reported_differences(world)] == [(Kind.VANISHED, removed)]


@pytest.mark.lab_needs("orphan")
def test_managed_snapshot_that_lost_its_volume_is_renamed_back_or_unmanaging_is_an_error(
    odd_lab: OrphaningLab,
) -> None:
    binding = add_snapshot(odd_lab, "test-orphan")
    odd_lab.driver.manage_snapshot(binding)
    odd_lab.orphan(binding.managed_name)

    name = binding.original_name
    try:
        odd_lab.driver.unmanage_snapshot(binding)
    except errors.Unusable:
        name = binding.managed_name

    located = odd_lab.driver.locate({binding.identity}, {binding.managed_name})
    assert {(each.name, each.identity) for each in located} == {(name, binding.identity)}


def test_objects_of_every_kind_are_located_by_name_and_by_identity(odd_lab: OddLab) -> None:
    volume = odd_lab.driver.find_volume(Reference.named(odd_lab.volume))
    first, second = add_snapshot(odd_lab, "located-1"), add_snapshot(odd_lab, "located-2")

    by_identity = odd_lab.driver.locate({first.identity, volume.identity}, ())
    by_name = odd_lab.driver.locate((), {second.original_name, odd_lab.volume, odd_lab.name_of("located-3")})

    there = {(first.original_name, first.identity), (odd_lab.volume, volume.identity)}
    assert {(each.name, each.identity) for each in by_identity} == there
    assert {each.name for each in by_name} == {second.original_name, odd_lab.volume}


def test_locate_fails_on_an_unreachable_backend(lab: Lab) -> None:
    binding = add_snapshot(lab, "daily")
    lab.go_away()
    try:
        with pytest.raises(errors.BackendError):
            lab.driver.locate({binding.identity}, {binding.original_name})
    finally:
        lab.come_back()
