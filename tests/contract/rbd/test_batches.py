"""Batches: an opened image serves all of its operations, and its trouble concerns no other image."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.batch import Asked, NotTried
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.caching_pool import MOST_OPEN
from snapmanage.drivers.rbd.driver import RbdDriver
from snapmanage.drivers.rbd.unreadable import ImageUnreadable
from tests.contract.labs.rbd import RbdLab
from tests.contract.labs.rbd_oddities import EXCLUSIVE_LOCK, JOURNALING, LAYERING
from tests.contract.rbd.helpers import DAILY, find, is_protected, protection_keys

IMAGES = ("image-2", "image-3")
SNAPSHOTS = 4


@pytest.fixture
def names(lab: RbdLab) -> list[str]:
    """Return the names of snapshots on two images, alternately."""
    for image in IMAGES:
        lab.write_snapshots(lab.add_volume(image), *(f"hourly-{number}" for number in range(SNAPSHOTS)))
    return [f"{image}@hourly-{number}" for number in range(SNAPSHOTS) for image in IMAGES]


@pytest.fixture
def opened(lab: RbdLab, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the images that are opened, for reading or for writing, and the lists of snapshots that are read."""
    counts, make = Counter[str](), lab.rbd.Image

    class CountedImage:
        """An image; a subclass of the real one would crash where an image can't be opened."""

        def __init__(self, *arguments: Any, read_only: bool = False, **more: Any) -> None:
            counts["for reading" if read_only else "for writing"] += 1
            self._image = make(*arguments, read_only=read_only, **more)
            counts["open"] += 1
            counts["most open"] = max(counts["most open"], counts["open"])

        def __enter__(self) -> "CountedImage":
            return self

        def __exit__(self, *_: object) -> None:
            counts["open"] -= 1
            self._image.close()

        def __getattr__(self, name: str) -> Any:
            counts["lists"] += name == "list_snaps"
            return getattr(self._image, name)

    monkeypatch.setattr(lab.rbd, "Image", CountedImage)
    return counts


def counted(counts: Counter[str], act: Callable[[], object]) -> dict[str, int]:
    """Return the images that an action opens, and the lists that it reads."""
    counts.clear()
    act()
    return {kind: counts[kind] for kind in ("for reading", "for writing", "lists") if counts[kind]}


def find_many(driver: RbdDriver, names: Sequence[str]) -> list[BackendSnapshot | errors.SnapmanageError]:
    return driver.find_snapshots([Asked(Reference.named(name)) for name in names])


def bind_many(driver: RbdDriver, names: Sequence[str], renames: bool = True) -> list[Binding]:
    found = [find(driver, name) for name in names]
    return [
        Binding(each.identity, each.name, f"{each.parent}@snapshot-{number}" if renames else each.name)
        for number, each in enumerate(found)
    ]


def kinds(results: Sequence[object]) -> list[type]:
    return [type(each) for each in results]


def test_batch_opens_each_image_once_and_after_renames_once_more(
    driver: RbdDriver, names: list[str], opened: Counter[str]
) -> None:
    bindings = bind_many(driver, names)
    once, twice = {"for reading": 2, "lists": 2}, {"for reading": 4, "lists": 4}

    assert counted(opened, lambda: find_many(driver, names)) == once
    assert counted(opened, lambda: driver.manage_snapshots(bindings)) == twice
    assert counted(opened, lambda: driver.manage_snapshots(bindings)) == once
    assert counted(opened, lambda: driver.unmanage_snapshots(bindings)) == twice


def test_batch_without_renames_opens_each_image_once(driver: RbdDriver, names: list[str], opened: Counter[str]) -> None:
    bindings = bind_many(driver, names, renames=False)

    for act in (driver.manage_snapshots, driver.unmanage_snapshots):
        assert counted(opened, partial(act, bindings)) == {"for reading": 2, "lists": 2}


def test_batch_opens_each_image_for_writing_once_to_protect_its_snapshots(
    lab: RbdLab, names: list[str], opened: Counter[str]
) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    for name in ("image-1@weekly", "image-1@monthly"):
        lab.add_snapshot(name)
    bindings = bind_many(driver, ["image-1@weekly", "image-1@monthly", names[0]])

    managing = counted(opened, lambda: driver.manage_snapshots(bindings))
    protected = is_protected(lab, "image-1@snapshot-0")
    unmanaging = counted(opened, lambda: driver.unmanage_snapshots(bindings))

    assert (managing["for writing"], unmanaging["for writing"], protected) == (2, 2, True)
    assert not is_protected(lab, "image-1@weekly")
    assert protection_keys(lab) == []


def test_batch_keeps_few_images_open_at_once(lab: RbdLab, driver: RbdDriver, opened: Counter[str]) -> None:
    names = [f"{lab.add_volume(f'more-{number}')}@daily" for number in range(MOST_OPEN + 2)]
    for name in names:
        lab.write_snapshots(*name.split("@"))
    opened.clear()

    # Each name is looked up on the volume of the request first.
    found = driver.find_snapshots([Asked(Reference.named(name), lab.volume) for name in names])

    assert [each.name for each in found if isinstance(each, BackendSnapshot)] == names
    assert (opened["most open"], opened["open"]) == (MOST_OPEN, 0)


def test_client_that_does_not_answer_the_notification_fails_no_rename(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(*_: object) -> None:
        raise lab.odd.rados.TimedOut("no answer", errno=110)

    [binding] = bind_many(driver, [DAILY])
    monkeypatch.setattr(raw, "announce_change", time_out)

    assert kinds(driver.manage_snapshots([binding])) == [BackendSnapshot]


def test_clients_are_not_notified_through_a_cluster_that_hangs_in_a_rename(
    lab: RbdLab, driver: RbdDriver, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notification has no time limit of its own."""
    bindings, rename = bind_many(driver, names[::2]), raw.rename_snapshot
    notified = list[object]()

    def rename_until_the_last(*arguments: Any) -> None:
        if arguments[-1] == bindings[-1].managed_name.partition("@")[2]:
            raise lab.odd.rados.TimedOut("no answer", errno=110)
        rename(*arguments)

    monkeypatch.setattr(raw, "rename_snapshot", rename_until_the_last)
    monkeypatch.setattr(raw, "announce_change", lambda *_: notified.append(_))
    results = driver.manage_snapshots(bindings)

    assert kinds(results) == [*[BackendSnapshot] * (SNAPSHOTS - 1), errors.BackendUnavailable]
    assert notified == []


def test_volumes_are_found_together_and_each_has_its_own_error(
    driver: RbdDriver, names: list[str], opened: Counter[str]
) -> None:
    references = [Reference.named(name) for name in (*IMAGES, "missing", names[0], "a\0b", *IMAGES)]
    results = list[object]()

    counts = counted(opened, lambda: results.extend(driver.find_volumes(references)))

    assert [getattr(each, "name", type(each)) for each in results] == [
        *IMAGES,
        *(errors.SourceNotFound, errors.NotAVolume, errors.InvalidReference),
        *IMAGES,
    ]
    # Each of the two images, the missing one, and the snapshot's name as that of an image and its own image.
    assert counts["for reading"] == 5


@pytest.mark.parametrize("lab", ["", "tenant"], indirect=True, ids=["no-namespace", "namespace"])
def test_trouble_of_an_image_is_that_of_its_own_entries(lab: RbdLab, driver: RbdDriver, names: list[str]) -> None:
    odd = [f"{image}@daily" for image in ("removed", "headerless", "migrated", "trashed")]
    for name in odd:
        lab.odd.image(name.partition("@")[0])
    bindings = [Binding("no identity", DAILY, "image-1@snapshot-x"), *bind_many(driver, [*odd, *names])]
    with lab.image("removed") as image:
        image.remove_snap("daily")
    lab.rbd.RBD().remove(lab.ioctx, "removed")
    lab.odd.break_header("headerless")
    lab.rbd.RBD().migration_prepare(lab.ioctx, "migrated", lab.ioctx, "target")
    lab.rbd.RBD().trash_move(lab.ioctx, "trashed", 0)

    found = find_many(driver, [*odd, *names])
    managed = driver.manage_snapshots(bindings)
    unmanaged = driver.unmanage_snapshots(bindings)

    gone, invalid, good = errors.SourceNotFound, errors.InvalidReference, [BackendSnapshot] * len(names)
    # The source of a migration is in the trash, and known by its id.
    assert kinds(found) == [gone, ImageUnreadable, gone, gone, *good]
    assert kinds(managed) == [invalid, gone, ImageUnreadable, ImageUnreadable, BackendSnapshot, *good]
    assert kinds(unmanaged)[:4] == [invalid, type(None), ImageUnreadable, ImageUnreadable]
    assert unmanaged[4:] == [None] * (1 + len(names))
    assert kinds(find_many(driver, names)) == good


def test_snapshot_that_gets_another_name_after_the_look_keeps_it(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    bindings, read_name = bind_many(driver, names), raw.read_snapshot_name
    renamed = f"{IMAGES[0]}@by-an-operator"

    def rename_and_read_name(ioctx: Any, image_id: str, snapshot_id: int) -> bytes:
        if f"{image_id}@{snapshot_id}" == bindings[0].identity and renamed not in lab.names():
            with lab.image(IMAGES[0]) as image:
                image.rename_snap(names[0].partition("@")[2], "by-an-operator")
        return read_name(ioctx, image_id, snapshot_id)

    monkeypatch.setattr(raw, "read_snapshot_name", rename_and_read_name)
    results = driver.manage_snapshots(bindings)

    assert kinds(results) == [errors.SourceNotFound, *[BackendSnapshot] * (len(names) - 1)]
    assert lab.names() == {DAILY, renamed, *(each.managed_name for each in bindings[1:])}


def test_worker_that_continues_late_gives_a_snapshot_its_recorded_name_and_changes_no_other(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    [binding], rename = bind_many(driver, [DAILY]), raw.rename_snapshot

    def replace_and_rename(*arguments: Any) -> None:
        monkeypatch.undo()
        with lab.image() as image:
            image.rename_snap("daily", "by-an-operator")
            image.create_snap("daily")
        rename(*arguments)

    monkeypatch.setattr(raw, "rename_snapshot", replace_and_rename)
    result = driver.manage_snapshots([binding])

    assert [each.identity for each in result if isinstance(each, BackendSnapshot)] == [binding.identity]
    assert lab.names() == {DAILY, binding.managed_name}
    assert find(driver, DAILY).identity != binding.identity


def test_client_that_has_an_image_open_sees_the_new_names_at_once(lab: RbdLab, driver: RbdDriver) -> None:
    with lab.image() as image:
        [binding] = bind_many(driver, [DAILY])
        before = [snap["name"] for snap in image.list_snaps()]

        driver.manage_snapshots([binding])

        assert (before, [snap["name"] for snap in image.list_snaps()]) == (["daily"], ["snapshot-0"])


def test_snapshots_of_an_image_with_a_journal_are_renamed_by_librbd(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch, opened: Counter[str]
) -> None:
    image_id = lab.odd.image("journaled", LAYERING | EXCLUSIVE_LOCK | JOURNALING)
    with lab.image("journaled") as image:
        image.create_snap("weekly")
    bindings = bind_many(driver, ["journaled@daily", "journaled@weekly"])
    sizes = journal_bytes(lab, image_id)
    monkeypatch.delattr(raw, "rename_snapshot")

    counts = counted(opened, lambda: driver.manage_snapshots(bindings))

    assert counts == {"for reading": 2, "for writing": 1, "lists": 2}
    assert lab.names() == {DAILY, *(each.managed_name for each in bindings)}
    assert journal_bytes(lab, image_id) > sizes


def test_image_that_gets_a_journal_after_the_look_is_left_for_the_next_attempt(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.odd.image("disk", LAYERING | EXCLUSIVE_LOCK)
    [binding], read_features = bind_many(driver, ["disk@daily"]), raw.read_features
    reads = Counter[str]()

    def enable_journal_and_read_features(ioctx: Any, image_id: str) -> int:
        reads[image_id] += 1
        if reads[image_id] == 2:  # the first time is before the image is opened
            with lab.image("disk") as image:
                image.update_features(JOURNALING, True)
        return read_features(ioctx, image_id)

    monkeypatch.setattr(raw, "read_features", enable_journal_and_read_features)
    first = driver.manage_snapshots([binding])
    between = lab.names()
    monkeypatch.undo()
    second = driver.manage_snapshots([binding])

    assert (kinds(first), kinds(second)) == ([errors.BackendBusy], [BackendSnapshot])
    assert (between, lab.names()) == ({DAILY, "disk@daily"}, {DAILY, binding.managed_name})


def journal_bytes(lab: RbdLab, image_id: str) -> int:
    """Return the size of the objects with the entries of an image's journal."""
    objects = [each for each in lab.ioctx.list_objects() if each.key.startswith("journal_data.")]
    return sum(each.stat()[0] for each in objects if f".{image_id}." in each.key)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that lets the cluster hang when a certain image is opened, until the end of the test."""
    release, read_features = threading.Event(), raw.read_features

    def hang(image_id: str) -> None:
        def hang_or_read(ioctx: Any, opened: str) -> int:
            if opened == image_id:
                release.wait(60)
            return read_features(ioctx, opened)

        monkeypatch.setattr(raw, "read_features", hang_or_read)

    yield hang
    release.set()


def test_image_on_which_the_cluster_hangs_delays_and_fails_no_other(
    lab: RbdLab, names: list[str], hanging: Callable[[str], None]
) -> None:
    driver = lab.driver_as("admin", rbd_timeout_seconds=0.2)
    bindings = bind_many(driver, names)
    hanging(bindings[0].identity.partition("@")[0])

    found = find_many(driver, names)
    results = driver.manage_snapshots(bindings)

    assert kinds(found) == [errors.BackendUnavailable, BackendSnapshot] * SNAPSHOTS
    assert kinds(results) == [errors.BackendUnavailable, BackendSnapshot] * SNAPSHOTS


def test_rest_of_a_batch_is_not_tried_if_no_image_answers(
    lab: RbdLab, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = lab.driver_as("admin", rbd_list_workers=1)
    images = [lab.add_volume(f"more-{number}") for number in range(5)]
    asked, tried = Counter[str](), [f"{image}@daily" for image in (*images, *IMAGES)]

    def time_out(ioctx: Any, name: str) -> str:
        asked[name] += 1
        raise lab.odd.rados.TimedOut("no answer", errno=110)

    monkeypatch.setattr(raw, "read_image_id", time_out)

    assert kinds(find_many(driver, tried)) == [*[errors.BackendUnavailable] * 2, *[NotTried] * (len(tried) - 2)]
    assert list(asked) == images[:2]


def test_rest_of_the_snapshots_of_an_image_is_not_tried_if_it_does_not_answer(
    lab: RbdLab, driver: RbdDriver, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = raw.read_image_id

    def time_out_for_first(ioctx: Any, name: str) -> str:
        if name == IMAGES[0]:
            raise lab.odd.rados.TimedOut("no answer", errno=110)
        return read(ioctx, name)

    monkeypatch.setattr(raw, "read_image_id", time_out_for_first)
    found = find_many(driver, names)

    assert kinds(found[::2]) == [errors.BackendUnavailable, *[NotTried] * (SNAPSHOTS - 1)]
    assert kinds(found[1::2]) == [BackendSnapshot] * SNAPSHOTS
