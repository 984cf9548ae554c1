"""Odd images in a real pool: none hides the others, and listings and manage requests give the same reasons."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.driver import RbdDriver
from tests.contract.labs.rbd import RbdLab
from tests.contract.labs.rbd_oddities import SHOWN, Oddities
from tests.contract.rbd.helpers import (
    DAILY,
    find,
    list_by_name,
    refusal_text,
)
from tests.contract.worlds import world_of


def binding_of(driver: RbdDriver, snapshot: BackendSnapshot) -> Binding:
    return Binding(snapshot.identity, snapshot.name, driver.managed_name(snapshot, "snapshot-1"))


UNREADABLE: dict[str, tuple[Callable[[Oddities], object], str]] = {
    "headerless": (lambda odd: odd.headerless("odd"), "rbd_header"),
    "corrupt": (lambda odd: odd.corrupt("odd"), "Input/output error"),
    "corrupt snapshot": (lambda odd: odd.corrupt_snapshot("odd"), "Input/output error"),
    "orphan": (lambda odd: odd.orphan("parent", "odd"), "parent"),
    "being migrated": (lambda odd: odd.migrating("odd"), "rbd migration commit"),
}
unreadable = pytest.mark.parametrize(("make", "reason"), UNREADABLE.values(), ids=UNREADABLE)


@unreadable
def test_unreadable_image_is_an_entry_beside_the_others(
    lab: RbdLab, make: Callable[[Oddities], object], reason: str
) -> None:
    make(lab.odd)

    found = list_by_name(lab.driver)

    assert found[DAILY].unsafe is None
    odd = found["odd"]
    assert (odd.parent, odd.size_bytes, odd.unsafe) == ("odd", 0, Unsafe.UNUSABLE)
    assert reason in odd.unsafe_reason
    assert odd.unsafe_reason in refusal_text(lab.driver, odd)
    for name in ("odd@daily", "odd"):
        with pytest.raises(errors.Unusable, match="can't be read"):
            refuse_unsafe(find(lab.driver, name))
    with pytest.raises(errors.Unusable, match="can't be read"):
        lab.driver.find_volume(Reference.named("odd"))


@unreadable
def test_snapshot_of_an_unreadable_image_does_not_count_as_gone(
    lab: RbdLab, make: Callable[[Oddities], object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(lab.odd)
    [image_id] = [each["id"] for each in lab.rbd.RBD().list2(lab.ioctx) if each["name"] == "odd"]
    binding = Binding(f"{image_id}@1", "odd@daily", "odd@snapshot-1")

    for act in (lab.driver.manage_snapshot, lab.driver.unmanage_snapshot):
        with pytest.raises(errors.Unusable, match=reason):
            act(binding)


def test_managing_a_snapshot_of_an_unreadable_image_is_not_retried(lab: RbdLab, tmp_path: Path) -> None:
    with world_of(tmp_path, lab.driver) as world:
        lab.add_volume("odd")
        volume = world.register_volume("odd")
        lab.odd.break_header("odd")

        snapshot = world.request_manage(volume, "daily")
        world.await_settled(snapshot)

        operation = world.client.operation(snapshot)
    assert (operation["status"], operation["reason_code"]) == ("error", "unusable")


def test_pool_with_only_an_unreadable_image_is_listed(lab: RbdLab) -> None:
    lab.odd.break_header(lab.volume)

    assert list(list_by_name(lab.driver)) == [lab.volume]


def test_unreadable_images_are_logged_in_one_line_and_only_once(lab: RbdLab, caplog: pytest.LogCaptureFixture) -> None:
    lab.odd.corrupt("corrupt")
    lab.odd.format_1("old")

    with caplog.at_level(logging.WARNING, "snapmanage"):
        lab.driver.list_snapshots()
        lab.driver.list_snapshots()

    [line] = caplog.messages
    assert "'corrupt'" in line
    assert "'old'" in line


def test_snapshots_of_format_1_are_listed_and_refused(lab: RbdLab) -> None:
    lab.odd.format_1("old")

    old = list_by_name(lab.driver)["old@daily"]

    assert "format 1" in old.unsafe_reason
    assert old.unsafe_reason in refusal_text(lab.driver, old)
    with pytest.raises(errors.Unusable, match="format 1"):
        lab.driver.find_volume(Reference.named("old"))


@pytest.mark.parametrize("content", [None, b"", b"\3\0\0\0\xff\xff\xff"], ids=["missing", "empty", "not UTF-8"])
def test_image_without_a_usable_name_object_is_found_by_the_pools_directory(lab: RbdLab, content: bytes | None) -> None:
    lab.odd.without_name_object("lost")
    if content is not None:
        lab.ioctx.write_full("rbd_id.lost", content)

    snapshot = list_by_name(lab.driver)["lost@daily"]
    managed = lab.driver.manage_snapshot(binding_of(lab.driver, snapshot))

    assert find(lab.driver, "lost@snapshot-1") == managed
    assert lab.driver.find_volume(Reference.named("lost")).identity == managed.parent_identity


READ_ONLY: dict[str, tuple[Callable[[Oddities], object], str]] = {
    "demoted mirror with journal": (lambda odd: odd.demoted("odd", 0), "primary"),
    "demoted mirror with snapshots": (lambda odd: odd.demoted("odd", 1), "primary"),
    "without its journal": (lambda odd: odd.without_journal("odd"), "journal"),
    "of an unknown feature": (lambda odd: odd.of_unknown_feature("odd"), "librbd"),
    "of an unknown operation": (lambda odd: odd.of_unknown_operation("odd"), "librbd"),
}


@pytest.mark.parametrize(("make", "reason"), READ_ONLY.values(), ids=READ_ONLY)
def test_snapshot_of_a_read_only_image_is_listed_unsafe_and_refused_with_the_reason(
    lab: RbdLab, make: Callable[[Oddities], object], reason: str
) -> None:
    make(lab.odd)

    snapshot = list_by_name(lab.driver)["odd@daily"]

    assert snapshot.unsafe is Unsafe.UNUSABLE
    assert reason in snapshot.unsafe_reason
    assert snapshot.unsafe_reason in refusal_text(lab.driver, snapshot)
    with pytest.raises(errors.Unusable):
        lab.driver.manage_snapshot(binding_of(lab.driver, snapshot))


def test_snapshot_of_an_image_that_is_migrated_while_it_is_opened_is_refused(
    lab: RbdLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.odd.migrating("odd")
    monkeypatch.setattr(raw, "read_features", lambda *_: 0)

    snapshot = list_by_name(lab.driver)["odd@daily"]

    assert "an abort would undo the rename" in snapshot.unsafe_reason
    with pytest.raises(errors.Unusable, match="being migrated"):
        lab.driver.manage_snapshot(binding_of(lab.driver, snapshot))


def test_image_whose_id_has_other_characters_than_those_of_rbd_is_refused(lab: RbdLab) -> None:
    lab.odd.of_strange_id("odd")

    snapshot = list_by_name(lab.driver)["odd@daily"]

    assert "an id that RBD gives to none" in snapshot.unsafe_reason
    assert snapshot.unsafe_reason in refusal_text(lab.driver, snapshot)
    with pytest.raises(errors.Unusable, match="an id that RBD gives to none"):
        lab.driver.find_volume(Reference.named("odd"))


def test_snapshot_of_a_demoted_image_is_unmanaged_only_after_a_promotion(lab: RbdLab) -> None:
    lab.odd.image("mirror")
    binding = binding_of(lab.driver, list_by_name(lab.driver)["mirror@daily"])
    lab.driver.manage_snapshot(binding)
    lab.odd.demote("mirror", 1)

    with pytest.raises(errors.Unusable, match="promote"):
        lab.driver.unmanage_snapshot(binding)
    with lab.image("mirror") as image:
        image.mirror_image_promote(False)
    lab.driver.unmanage_snapshot(binding)

    assert "mirror@daily" in lab.names()


def test_unprotectable_snapshot_is_unsafe_only_with_rbd_protect(lab: RbdLab) -> None:
    lab.odd.image("plain", features=4)
    protecting = lab.driver_as("admin", rbd_protect=True)

    snapshot = list_by_name(protecting)["plain@daily"]

    assert "rbd_protect" in snapshot.unsafe_reason
    assert snapshot.unsafe_reason in refusal_text(protecting, snapshot)
    assert list_by_name(lab.driver)["plain@daily"].unsafe is None


def test_snapshot_with_an_empty_name_is_managed_and_unmanaged(lab: RbdLab) -> None:
    lab.odd.image("plain", snapshot="")
    binding = binding_of(lab.driver, find(lab.driver, "plain@"))

    lab.driver.manage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {DAILY, "plain@"}


def test_snapshot_whose_name_is_not_utf8_is_unsafe_and_hides_no_other(lab: RbdLab) -> None:
    lab.odd.snapshot_not_in_utf8("plain")

    found = list_by_name(lab.driver)

    assert found["plain@daily"] == find(lab.driver, "plain@daily")
    odd = found[f"plain@{SHOWN}"]
    assert "UTF-8" in odd.unsafe_reason
    assert odd.unsafe_reason in refusal_text(lab.driver, odd)
    assert lab.driver.manage_snapshot(binding_of(lab.driver, found["plain@daily"])).name == "plain@snapshot-1"


def test_image_whose_name_is_not_utf8_is_an_entry_and_hides_no_other(lab: RbdLab) -> None:
    lab.odd.not_in_utf8()
    lab.odd.format_1("old")

    found = list_by_name(lab.driver)

    assert found.keys() == {DAILY, "old@daily", SHOWN}
    assert "UTF-8" in found[SHOWN].unsafe_reason
    assert found[SHOWN].unsafe_reason in refusal_text(lab.driver, found[SHOWN])


def test_image_in_the_trash_is_not_listed_and_its_error_names_the_remedy(lab: RbdLab) -> None:
    lab.odd.in_trash("old")

    assert list(list_by_name(lab.driver)) == [DAILY]
    for name in ("old@daily", "old"):
        with pytest.raises(errors.SourceNotFound, match="rbd trash restore"):
            find(lab.driver, name)
    with pytest.raises(errors.SourceNotFound, match="rbd trash restore"):
        lab.driver.find_volume(Reference.named("old"))


def test_managed_snapshot_of_an_image_in_the_trash_is_unmanaged(lab: RbdLab) -> None:
    lab.odd.image("old")
    binding = binding_of(lab.driver, find(lab.driver, "old@daily"))
    lab.driver.manage_snapshot(binding)
    image_id = binding.identity.partition("@")[0]
    lab.rbd.RBD().trash_move(lab.ioctx, "old", 0)

    lab.driver.unmanage_snapshot(binding)

    lab.rbd.RBD().trash_restore(lab.ioctx, image_id, "old")
    assert lab.names() == {DAILY, "old@daily"}


def test_every_odd_snapshot_is_managed_if_listed_safe_and_refused_with_the_listed_reason_otherwise(
    lab: RbdLab,
) -> None:
    lab.add_oddities()

    for snapshot in lab.driver.list_snapshots():
        assert find(lab.driver, snapshot.name, snapshot.parent) == snapshot
        if snapshot.unsafe:
            assert snapshot.unsafe_reason in refusal_text(lab.driver, snapshot)
            continue
        assert lab.driver.find_volume(Reference.named(snapshot.parent or "")).identity == snapshot.parent_identity
        binding = binding_of(lab.driver, snapshot)
        assert lab.driver.manage_snapshot(binding).name == binding.managed_name
        lab.driver.unmanage_snapshot(binding)
        assert find(lab.driver, snapshot.name, snapshot.parent) == snapshot
