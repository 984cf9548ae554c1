"""Other programs change the directory during a rename: no chain breaks, and no other file is renamed."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from tests.contract.qcow2.chain import NEW, OLD, SIZE, TOPS, Chain, act_once_before, create, hidden_names, kill_before
from tests.services.storage import qemu


def test_overlay_opened_during_the_rename_is_in_use_and_the_rename_is_undone(chain: Chain) -> None:
    binding = chain.binding()
    with ExitStack() as guests:

        def start_guest() -> None:
            guests.enter_context(qemu.held_open(chain.folder / "disk.qcow2"))

        with act_once_before("rebase", start_guest), pytest.raises(errors.InUse, match=r"disk\.qcow2"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()
    chain.driver.manage_snapshot(binding)
    chain.check_managed()


def test_overlay_made_during_the_rename_gets_the_new_name(chain: Chain) -> None:
    with act_once_before("rename", lambda: create(chain.folder / "late.qcow2", OLD, "qcow2", 0x55)):
        chain.driver.manage_snapshot(chain.binding())

    assert chain.backing("late.qcow2") == NEW
    assert OLD not in chain.names()


def test_overlay_made_and_opened_during_the_rename_keeps_its_backing_file(chain: Chain) -> None:
    binding = chain.binding()
    late = chain.folder / "late.qcow2"
    with ExitStack() as guests:

        def start_guest() -> None:
            create(late, OLD, "qcow2", 0x55)
            guests.enter_context(qemu.held_open(late))

        with act_once_before("rename", start_guest), pytest.raises(errors.InUse, match=r"late\.qcow2"):
            chain.driver.manage_snapshot(binding)

    assert len(qemu.chain(late)) == 3
    late.unlink()
    chain.check_unmanaged()


@pytest.mark.parametrize("recorded", ["FOLDER//middle.qcow2", "file:FOLDER/middle.qcow2", "link"])
def test_overlay_made_during_the_rename_keeps_its_backing_file_if_its_name_cannot_be_rewritten(
    chain: Chain, recorded: str
) -> None:
    binding, late = chain.binding(), chain.folder / "late.qcow2"

    def make() -> None:
        if recorded == "link":
            (chain.folder / "link").symlink_to(OLD)
        create(late, recorded.replace("FOLDER", str(chain.folder)), "qcow2", 0x55)

    with act_once_before("rename", make), pytest.raises(errors.Unusable, match=r"'(late\.qcow2|link)'"):
        chain.driver.manage_snapshot(binding)

    assert len(qemu.chain(late)) == 3
    late.unlink()
    (chain.folder / "link").unlink(missing_ok=True)
    chain.check_unmanaged()


def test_overlay_made_after_a_crash_keeps_its_backing_file_if_its_name_cannot_be_rewritten(chain: Chain) -> None:
    binding, late = chain.binding(), chain.folder / "late.qcow2"
    assert kill_before(chain.driver.manage_snapshot, binding, 4)
    create(late, f"{chain.folder}//{OLD}", "qcow2", 0x55)

    with pytest.raises(errors.Unusable, match=r"late\.qcow2"):
        chain.driver.manage_snapshot(binding)
    assert len(qemu.chain(late)) == 3
    chain.driver.unmanage_snapshot(binding)

    assert len(qemu.chain(late)) == 3
    late.unlink()
    chain.check_unmanaged()


def test_last_name_of_a_file_is_never_removed(chain: Chain) -> None:
    """A host that lost its lock continues after another worker has unmanaged the snapshot."""
    with act_once_before("rename", (chain.folder / NEW).unlink), pytest.raises(errors.BackendError):
        chain.driver.manage_snapshot(chain.binding())

    assert (chain.folder / OLD).exists()
    assert not hidden_names(chain.folder)


def test_file_that_takes_the_old_name_during_the_rename_keeps_it(chain: Chain) -> None:
    binding = chain.binding()
    another = chain.folder / "another.qcow2"
    qemu.create(another, SIZE)
    content = another.read_bytes()

    with act_once_before("link", lambda: another.replace(chain.folder / OLD)), pytest.raises(errors.SourceNotFound):
        chain.driver.manage_snapshot(binding)

    assert (chain.folder / OLD).read_bytes() == content
    assert NEW not in chain.names()


def test_overlays_of_another_file_with_the_old_name_stay_unchanged(chain: Chain) -> None:
    binding = chain.binding()
    chain.driver.manage_snapshot(binding)
    qemu.create(chain.folder / OLD, SIZE)
    qemu.create(chain.folder / "late.qcow2", SIZE, OLD)

    chain.driver.manage_snapshot(binding)

    assert chain.backing("late.qcow2") == OLD


def test_symbolic_link_with_the_old_name_stays_unchanged(chain: Chain) -> None:
    binding = chain.binding()
    chain.driver.manage_snapshot(binding)
    (chain.folder / OLD).symlink_to("/etc/hostname")

    with pytest.raises(errors.NameTaken):
        chain.driver.unmanage_snapshot(binding)

    assert (chain.folder / OLD).is_symlink()
    assert {Path(chain.backing(name)).name for name in TOPS} == {NEW}


def test_other_snapshots_are_never_listed_as_unsafe_during_a_rename(chain: Chain) -> None:
    binding = chain.binding()

    def rename_repeatedly() -> None:
        for _ in range(5):
            chain.driver.manage_snapshot(binding)
            chain.driver.unmanage_snapshot(binding)

    with ThreadPoolExecutor(1) as worker:
        renaming, seen = worker.submit(rename_repeatedly), set()
        while not renaming.done():
            seen.add(chain.driver.find_snapshot(Reference.named("base.img")).unsafe)
            seen.update(each.unsafe for each in chain.driver.list_snapshots())

    assert renaming.result() is None
    assert seen == {None}
