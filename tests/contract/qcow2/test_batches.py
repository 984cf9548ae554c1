"""Many snapshots at once: few scans serve all, and every chain stays complete between the steps of a batch."""

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.batch import Asked, NotTried
from snapmanage.drivers.progress import Progress, reported
from snapmanage.drivers.qcow2 import driver as qcow2
from snapmanage.drivers.qcow2 import image, lock, qemu_img, renamer
from snapmanage.drivers.qcow2.directory import Directory
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import commands
from snapmanage.testing.contract.helpers import counted
from snapmanage.testing.waiting import until
from tests.contract.labs.qcow2 import Qcow2Lab
from tests.contract.qcow2.chain import NEW, OLD, Chain, act_once_before, before_each_step, create, kill_before
from tests.contract.qcow2.image_directory import SIZE, add_internal_snapshot
from tests.services.storage import qemu
from tests.unit.drivers.qcow2.images import Entry, Qcow2

BASE, NEW_BASE = "base.img", "snapshot-2.img"
MANY = 30


@pytest.fixture
def bindings(chain: Chain) -> list[Binding]:
    """Return the bindings of both snapshots of the chain, of which one is the overlay of the other."""
    return [chain.binding(BASE, NEW_BASE), chain.binding()]


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the steps of a batch have one order."""
    monkeypatch.setattr(renamer, "MOST_PROCESSES", 1)


@pytest.fixture
def lab(tmp_path: Path) -> Qcow2Lab:
    """Return one chain of many images."""
    lab = Qcow2Lab(tmp_path)
    lab.add_many(MANY)
    return lab


class Calls:
    """The calls of a batch: scans, reads of a header, processes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._calls: dict[str, list[object]] = {"scan": [], "read_header": [], "run": []}
        for owner, name in ((Directory, "scan"), (image, "read_header"), (commands, "run")):
            patch.setattr(owner, name, counted(getattr(owner, name), self._calls[name]))

    def of(self, batch: Callable[[], Sequence[object]]) -> tuple[int, int, int]:
        for each in self._calls.values():
            each.clear()
        assert not [each for each in batch() if isinstance(each, Exception)]
        scans, reads, processes = map(len, self._calls.values())
        return scans, reads, processes


@pytest.fixture
def calls() -> Iterator[Calls]:
    with pytest.MonkeyPatch.context() as patch:
        yield Calls(patch)


def found(lab: Qcow2Lab) -> list[BackendSnapshot]:
    return [each for each in lab.driver.list_snapshots() if each.name.startswith("many-")]


def check_managed(chain: Chain) -> None:
    chain.check_data()
    assert chain.names() == {NEW_BASE, NEW, "disk.qcow2", "branch.qcow2"}
    assert chain.backing(NEW) == NEW_BASE


def test_one_scan_finds_many(lab: Qcow2Lab, calls: Calls) -> None:
    """A scan reads each file once."""
    asked = [Asked(Reference.named(each.name), lab.volume) for each in found(lab)]
    volumes = [Reference.named(lab.volume)] * MANY

    assert calls.of(lambda: lab.driver.find_snapshots(asked)) == (1, MANY + 1, 0)
    assert calls.of(lambda: lab.driver.find_volumes(volumes)) == (1, MANY + 1, 0)


def test_three_scans_and_one_process_for_each_overlay_rename_many(lab: Qcow2Lab, calls: Calls) -> None:
    bindings = [Binding(each.identity, each.name, f"snapshot-{each.name}") for each in found(lab)]
    # The second scan finds each file under two names; each overlay is read once more after it was changed.
    reads = 3 * (MANY + 1) + MANY + MANY

    assert calls.of(lambda: lab.driver.manage_snapshots(bindings)) == (3, reads, MANY)
    assert calls.of(lambda: lab.driver.manage_snapshots(bindings)) == (1, MANY + 1, 0)
    assert calls.of(lambda: lab.driver.unmanage_snapshots(bindings)) == (3, reads, MANY)


def test_one_scan_manages_and_unmanages_many_without_a_rename(lab: Qcow2Lab, calls: Calls) -> None:
    bindings = [Binding(each.identity, each.name, each.name) for each in found(lab)]

    assert calls.of(lambda: lab.driver.manage_snapshots(bindings)) == (1, MANY + 1, 0)
    assert calls.of(lambda: lab.driver.unmanage_snapshots(bindings)) == (1, MANY + 1, 0)


@pytest.mark.usefixtures("one_at_a_time")
def test_directory_is_written_to_disk_twice_for_a_batch(lab: Qcow2Lab) -> None:
    bindings = [Binding(each.identity, each.name, f"snapshot-{each.name}") for each in found(lab)]
    steps: list[str] = []

    with before_each_step(steps.append):
        lab.driver.manage_snapshots(bindings)

    step_of_each = [(step, len(list(group))) for step, group in itertools.groupby(steps)]
    assert step_of_each == [
        *[("link", MANY), ("fsync", 1)],
        *[("rebase", 1), ("fdatasync", 1)] * MANY,
        *[("rename", 1), ("unlink", 1)] * MANY,
        ("fsync", 1),
    ]


@pytest.mark.parametrize("then", ["manage", "unmanage"])
@pytest.mark.parametrize("first", ["manage", "unmanage"])
@pytest.mark.usefixtures("one_at_a_time")
def test_worker_killed_at_any_step_of_a_batch_leaves_complete_chains_and_the_next_batch_finishes(
    chain: Chain, bindings: list[Binding], first: str, then: str
) -> None:
    operations: dict[str, Callable[[list[Binding]], Sequence[object]]] = {
        "manage": chain.driver.manage_snapshots,
        "unmanage": chain.driver.unmanage_snapshots,
    }
    checks = {"manage": lambda: check_managed(chain), "unmanage": chain.check_unmanaged}
    for step in itertools.count():
        if first == "unmanage":
            chain.driver.manage_snapshots(bindings)
        if not kill_before(operations[first], bindings, step):
            break
        chain.check_data()

        results = operations[then](bindings)

        assert not [each for each in results if isinstance(each, Exception)]
        checks[then]()
        chain.driver.unmanage_snapshots(bindings)
        chain.check_unmanaged()
    # Two links and a sync; three overlays with a sync each; two names hidden and removed, and a sync.
    assert step == 14
    checks[first]()


@pytest.mark.parametrize("position", [0, 1])
def test_single_operation_after_a_killed_batch_finishes_its_own_rename(
    chain: Chain, bindings: list[Binding], position: int
) -> None:
    for step in range(14):
        assert kill_before(chain.driver.manage_snapshots, bindings, step)

        chain.driver.manage_snapshot(bindings[position])

        chain.check_data()
        chain.driver.unmanage_snapshots(bindings)
        chain.check_unmanaged()


@pytest.mark.usefixtures("one_at_a_time")
def test_overlay_in_use_refuses_its_snapshot_alone(chain: Chain, bindings: list[Binding]) -> None:
    with ExitStack() as guests:
        done: list[str] = []

        def start_guest(step: str) -> None:
            done.append(step)
            if done.count("rebase") == 2 and step == "rebase":
                guests.enter_context(qemu.held_open(chain.folder / "branch.qcow2"))

        with before_each_step(start_guest):
            base, middle = chain.driver.manage_snapshots(bindings)

    assert isinstance(base, BackendSnapshot)
    assert isinstance(middle, errors.InUse)
    assert chain.names() == {NEW_BASE, OLD, "disk.qcow2", "branch.qcow2"}
    chain.check_data()


def test_snapshot_that_a_process_opens_before_its_turn_is_in_use(chain: Chain, bindings: list[Binding]) -> None:
    with ExitStack() as readers:

        def open_middle() -> None:
            readers.enter_context(qemu.held_open(chain.folder / OLD, "qcow2", "-r"))

        with act_once_before("link", open_middle):
            base, middle = chain.driver.manage_snapshots([bindings[1], bindings[0]])

    assert [type(base), type(middle)] == [errors.InUse, errors.InUse]
    chain.check_unmanaged()


@pytest.mark.usefixtures("one_at_a_time")
def test_overlay_made_during_the_renames_before_is_never_without_its_backing_file(
    chain: Chain, bindings: list[Binding]
) -> None:
    """The overlay is made after the first scan, while the overlays of another snapshot are changed."""
    late = chain.folder / "late.qcow2"
    made: list[str] = []

    def make_once(step: str) -> None:
        if not made and step == "fdatasync":
            made.append(step)
            create(late, BASE, "raw", 0x55)
        elif made:
            assert len(qemu.chain(late)) == 2

    with before_each_step(make_once):
        results = chain.driver.manage_snapshots(bindings)

    assert not [each for each in results if isinstance(each, Exception)]
    assert chain.backing("late.qcow2") == NEW_BASE


@pytest.mark.usefixtures("one_at_a_time")
def test_name_that_can_not_be_rewritten_stops_its_rename_before_the_old_name_is_removed(
    chain: Chain, bindings: list[Binding]
) -> None:
    late = chain.folder / "late.qcow2"
    steps: list[str] = []

    def make(step: str) -> None:
        steps.append(step)
        if steps.count("rebase") == 1 and step == "rebase":
            create(late, f"{chain.folder}//{OLD}", "qcow2", 0x55)
        if late.exists():
            assert len(qemu.chain(late)) == 3

    with before_each_step(make):
        base, middle = chain.driver.manage_snapshots(bindings)

    assert isinstance(base, BackendSnapshot)
    assert isinstance(middle, errors.Unusable)
    assert "late.qcow2" in str(middle)
    assert chain.names() == {NEW_BASE, OLD, "disk.qcow2", "branch.qcow2", "late.qcow2"}


def test_file_that_takes_the_name_of_a_snapshot_after_the_look_is_not_touched(
    chain: Chain, bindings: list[Binding]
) -> None:
    another = chain.folder / "another.img"
    another.write_bytes(b"another")
    base, middle = bindings

    with act_once_before("link", lambda: another.replace(chain.folder / BASE)):
        results = chain.driver.manage_snapshots([middle, base])

    assert [type(each) for each in results] == [BackendSnapshot, errors.SourceNotFound]
    assert (chain.folder / BASE).read_bytes() == b"another"
    assert chain.names() == {BASE, NEW, "disk.qcow2", "branch.qcow2"}


def test_storage_that_does_not_respond_is_not_asked_for_each_of_the_rest(
    chain: Chain, bindings: list[Binding], monkeypatch: pytest.MonkeyPatch, one_at_a_time: None
) -> None:
    asked: list[object] = []

    def hang(*_: Any) -> str:
        asked.append(_)
        raise errors.BackendUnavailable("the storage hangs")

    with monkeypatch.context() as patch:
        patch.setattr(qemu_img, "rebase", hang)
        results = chain.driver.manage_snapshots(bindings)

    assert [type(each) for each in results] == [errors.BackendUnavailable, NotTried]
    assert len(asked) == 1
    chain.check_unmanaged()


def test_old_name_is_checked_after_its_removal_even_if_the_storage_failed_for_another_one(
    chain: Chain, bindings: list[Binding], monkeypatch: pytest.MonkeyPatch, one_at_a_time: None
) -> None:
    real, late = qemu_img.rebase, [chain.folder / "late-1.qcow2", chain.folder / "late-2.qcow2"]

    def fail_for_first_late(fd: int, *arguments: Any) -> str:
        if late[0].exists() and os.path.samestat(os.fstat(fd), late[0].stat()):
            raise errors.BackendUnavailable("the storage hangs")
        return real(fd, *arguments)

    def make_overlays() -> None:
        create(late[0], BASE, "raw", 0x55)
        create(late[1], OLD, "qcow2", 0x66)

    with monkeypatch.context() as patch:
        patch.setattr(qemu_img, "rebase", fail_for_first_late)
        with act_once_before("rename", make_overlays):
            base, middle = chain.driver.manage_snapshots(bindings)

    assert [type(base), type(middle)] == [errors.BackendUnavailable, BackendSnapshot]
    assert [len(qemu.chain(each)) for each in late] == [2, 3]
    assert chain.backing("late-2.qcow2") == NEW


def test_progress_shows_the_snapshot_whose_overlays_are_being_changed(
    chain: Chain, bindings: list[Binding], one_at_a_time: None
) -> None:
    progress, current = Progress(), list[object]()

    def note(*_: Any) -> str:
        until(lambda: progress.current is not None, "the batch to report the snapshot")
        current.append(progress.current)
        return ""

    with reported(progress), pytest.MonkeyPatch.context() as patch:
        patch.setattr(qemu_img, "rebase", note)
        chain.driver.manage_snapshots(bindings[:1])

    assert current == bindings[:1]


def test_several_processes_change_overlays_at_the_same_time(
    chain: Chain, bindings: list[Binding], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of one process of a batch doesn't look like that of another program."""
    real, met = qemu_img.rebase, threading.Barrier(2, timeout=20)
    together: list[int] = []

    def rebase_together(*arguments: Any) -> str:
        with suppress(threading.BrokenBarrierError):
            together.append(met.wait())
            met.abort()
        return real(*arguments)

    monkeypatch.setattr(qemu_img, "rebase", rebase_together)

    assert [type(each) for each in chain.driver.manage_snapshots(bindings)] == [BackendSnapshot] * 2
    assert together
    check_managed(chain)


def test_lock_is_released_between_the_parts_of_a_large_batch(lab: Qcow2Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = [Binding(each.identity, each.name, each.name) for each in found(lab)[:5]]
    locked: list[object] = []
    monkeypatch.setattr(lock, "locked", counted(lock.locked, locked))
    monkeypatch.setattr(qcow2, "MOST_RENAMES", 2)

    managed = lab.driver.manage_snapshots(bindings)

    assert [each.identity for each in managed if isinstance(each, BackendSnapshot)] == [
        each.identity for each in bindings
    ]
    assert len(locked) == 3


def test_internal_snapshot_has_the_new_name_of_its_file_that_the_same_batch_manages(folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    driver = Qcow2Driver(str(folder))
    inside, file, gone = (
        driver.find_snapshot(Reference.named("disk.qcow2/1")),
        driver.find_snapshot(Reference.named("disk.qcow2")),
        Binding("1-2/1@3.000000004", "gone.qcow2/1", "gone.qcow2/1"),
    )

    results = driver.manage_snapshots(
        [Binding(inside.identity, inside.name, inside.name), gone, Binding(file.identity, file.name, NEW)]
    )

    assert [each.name if isinstance(each, BackendSnapshot) else type(each) for each in results] == [
        f"{NEW}/1",
        errors.SourceNotFound,
        NEW,
    ]


def test_internal_snapshots_that_a_scan_leaves_out_are_found_in_a_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapmanage.drivers.qcow2.directory.MOST_INTERNAL_SNAPSHOTS", 15)
    names = [f"many-{number}.qcow2/9" for number in range(3)]
    for name in names:
        content = Qcow2(entries=[Entry(b"%d" % id) for id in range(10)])
        (folder / os.path.dirname(name)).write_bytes(content.packed())

    results = Qcow2Driver(str(folder)).find_snapshots([Asked(Reference.named(name)) for name in names])

    assert [each.name if isinstance(each, BackendSnapshot) else each for each in results] == names


def test_listing_waits_for_one_part_of_a_large_batch(lab: Qcow2Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part of the batch waits for the listing, which came before it."""
    bindings = [Binding(each.identity, each.name, f"snapshot-{each.name}") for each in found(lab)[:6]]
    listings: list[Future[list[BackendSnapshot]]] = []
    asked: list[object] = []
    monkeypatch.setattr(lock, "Deadline", counted(lock.Deadline, asked))
    monkeypatch.setattr(qcow2, "MOST_RENAMES", 2)
    with ThreadPoolExecutor(1) as others:

        def list_meanwhile() -> None:
            listings.append(others.submit(lab.driver.list_snapshots))
            until(lambda: len(asked) == 2, "the listing to ask for the directory")

        with act_once_before("rebase", list_meanwhile):
            lab.driver.manage_snapshots(bindings)
        listed = listings[0].result()

    assert sum(each.name.startswith("snapshot-") for each in listed) == 2
