"""A backing file gets another name, and every chain above it stays whole: whatever dies, fails or comes between."""

import itertools
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2 import qemu_img
from snapmanage.drivers.qcow2.directory import LOCK
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX
from snapmanage.drivers.system import commands, syscalls
from tests.needs import require
from tests.services import qemu
from tests.waiting import until

SIZE = 1024**2
TOPS = ("disk.qcow2", "branch.qcow2")
FILES = {"base.img", "middle.qcow2", *TOPS}
# The offset in a qcow2 header.
CRYPT_METHOD_OFFSET = 32
OLD, NEW = "middle.qcow2", "snapshot-1.qcow2"


class WorkerKilled(BaseException):
    """Stands for SIGKILL: no code of the driver handles it."""


class Chain:
    """Two volumes above one snapshot above a raw backing file, with data in each layer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.driver = Qcow2Driver(str(folder), command_timeout_seconds=20)
        self.recorded = {name: self.backing(name) for name in TOPS}

    @classmethod
    def made(cls, folder: Path) -> "Chain":
        folder.mkdir()
        (folder / "base.img").write_bytes(b"\x11" * SIZE)
        create(folder / "middle.qcow2", "base.img", "raw", 0x22)
        create(folder / "disk.qcow2", "middle.qcow2", "qcow2", 0x33)
        create(folder / "branch.qcow2", "./middle.qcow2", "qcow2", 0x44)
        return cls(folder)

    def copied(self, folder: Path) -> "Chain":
        """Copy the chain to a folder; there the first volume records an absolute path."""
        shutil.copytree(self.folder, folder)
        backing = f"{folder}/middle.qcow2"
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, folder / "disk.qcow2")
        return Chain(folder)

    def backing(self, name: str) -> str:
        name_in_overlay: str = qemu.chain(self.folder / name)[0]["backing-filename"]
        return name_in_overlay

    def binding(self, name: str = OLD, managed_name: str = NEW) -> Binding:
        return Binding(self.driver.find_snapshot(Reference.named(name)).identity, name, managed_name)

    def names(self) -> set[str]:
        return {name for name in os.listdir(self.folder) if not name.startswith(".")}

    def check_data(self) -> None:
        """Read the data of each layer through the volumes."""
        for top, byte in zip(TOPS, (0x33, 0x44), strict=True):
            reads = [f"read -P {layer} {layer * 4096} 4096" for layer in (0x22, byte)]
            output = qemu.qemu_io(self.folder / top, "read -P 0x11 0 4096", *reads)
            assert "verification failed" not in output

    def check_unmanaged(self) -> None:
        self.check_data()
        assert self.names() == FILES
        assert {name: self.backing(name) for name in TOPS} == self.recorded
        assert not hidden(self.folder)

    def check_managed(self) -> None:
        self.check_data()
        assert self.names() == FILES - {OLD} | {NEW}
        assert {Path(self.backing(name)).name for name in TOPS} == {NEW}
        assert not hidden(self.folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    require(*qemu.PROGRAMS)
    return Chain.made(tmp_path_factory.mktemp("model") / "images")


@pytest.fixture
def chain(model: Chain, tmp_path: Path) -> Chain:
    return model.copied(tmp_path / "images")


def create(image: Path, backing: str, kind: str, byte: int) -> None:
    """Make an overlay with data of its own; `byte` is their value and gives their place."""
    qemu.create(image, SIZE, backing, kind)
    qemu.qemu_io(image, f"write -P {byte} {byte * 4096} 4096")


def hidden(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if name.startswith(".")} - {LOCK}


@contextmanager
def before_each_step(happens: Callable[[str], None]) -> Iterator[None]:
    """Call `happens` with the name of each step that changes the disk, right before the step."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "link"), (os, "fsync"), (os, "rename"), (os, "unlink"), (qemu_img, "rebase")):
            patch.setattr(owner, name, _preceded(getattr(owner, name), name, happens))
        yield


def _preceded(step: Callable[..., Any], name: str, happens: Callable[[str], None]) -> Callable[..., Any]:
    def stepping(*arguments: Any, **named: Any) -> Any:
        happens(name)
        return step(*arguments, **named)

    return stepping


def killed(operation: Callable[[Binding], object], binding: Binding, step: int) -> bool:
    """Run the operation and kill the worker before a step; return False if there is no such step."""
    passed = itertools.count()

    def die(_: str) -> None:
        if next(passed) == step:
            raise WorkerKilled

    with before_each_step(die):
        try:
            operation(binding)
        except WorkerKilled:
            return True
    return False


@contextmanager
def once_before(step: str, happens: Callable[[], object]) -> Iterator[None]:
    done: list[str] = []

    def happen(name: str) -> None:
        if name == step and not done:
            done.append(name)
            happens()

    with before_each_step(happen):
        yield


# All goes well.


def test_data_are_the_same_after_managing_and_unmanaging(chain: Chain) -> None:
    binding = chain.binding()

    chain.driver.manage_snapshot(binding)
    chain.check_managed()
    chain.driver.unmanage_snapshot(binding)

    chain.check_unmanaged()


def test_raw_backing_file_is_renamed_and_stays_raw(chain: Chain) -> None:
    binding = chain.binding("base.img", "snapshot-1.img")

    chain.driver.manage_snapshot(binding)
    chain.check_data()
    assert chain.backing(OLD) == "snapshot-1.img"
    assert qemu.chain(chain.folder / OLD)[0]["backing-filename-format"] == "raw"
    chain.driver.unmanage_snapshot(binding)

    chain.check_unmanaged()


def test_backing_file_name_keeps_the_spelling_of_the_directory(chain: Chain) -> None:
    chain.driver.manage_snapshot(chain.binding())

    assert {name: chain.backing(name) for name in TOPS} == {
        "disk.qcow2": f"{chain.folder}/{NEW}",
        "branch.qcow2": f"./{NEW}",
    }


def test_rename_keeps_inode_and_permissions(chain: Chain) -> None:
    (chain.folder / OLD).chmod(0o640)
    before = (chain.folder / OLD).stat()

    chain.driver.manage_snapshot(chain.binding())

    after = (chain.folder / NEW).stat()
    assert (after.st_ino, stat.S_IMODE(after.st_mode), after.st_nlink) == (before.st_ino, 0o640, 1)


@pytest.mark.parametrize(
    "name", ["a:b", "-x", "a b", "a,b=c", "%s", "#1", "@", "üß", "a\nb", "json:{}", "'\"", "\\", "*", "x" * 237]
)
def test_file_name_with_any_characters_is_managed_and_unmanaged(chain: Chain, name: str) -> None:
    (chain.folder / "base.img").rename(chain.folder / name)
    qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", f"./{name}", chain.folder / OLD)
    binding = chain.binding(name)

    chain.driver.manage_snapshot(binding)
    chain.check_data()
    chain.driver.unmanage_snapshot(binding)

    chain.check_data()
    assert name in chain.names()
    assert chain.backing(OLD) == f"./{name}"


def test_managed_name_with_a_colon_is_not_taken_for_a_protocol(chain: Chain) -> None:
    chain.driver.manage_snapshot(chain.binding("base.img", "nbd:1.img"))

    chain.check_data()


# Somebody dies.


@pytest.mark.parametrize("then", ["manage", "unmanage"])
@pytest.mark.parametrize("first", ["manage", "unmanage"])
def test_worker_killed_at_any_step_leaves_complete_chains_and_the_next_operation_finishes(
    chain: Chain, first: str, then: str
) -> None:
    binding = chain.binding()
    operations = {"manage": chain.driver.manage_snapshot, "unmanage": chain.driver.unmanage_snapshot}
    checks = {"manage": chain.check_managed, "unmanage": chain.check_unmanaged}
    for step in itertools.count():
        if first == "unmanage":
            chain.driver.manage_snapshot(binding)
        if not killed(operations[first], binding, step):
            break
        chain.check_data()

        operations[then](binding)

        checks[then]()
        chain.driver.unmanage_snapshot(binding)
        chain.check_unmanaged()
    # Link and sync the directory; rebase and sync both overlays; hide and remove the old name, sync the directory.
    assert step == 9
    checks[first]()


def test_listing_and_volume_stay_the_same_between_a_crash_and_the_next_operation(chain: Chain) -> None:
    binding = chain.binding()
    for step in range(9):
        assert killed(chain.driver.manage_snapshot, binding, step)

        listed = chain.driver.list_snapshots()

        assert {(each.identity, each.unsafe) for each in listed} >= {(binding.identity, None)}
        assert len(listed) == 2
        assert chain.driver.find_volume(Reference.named("disk.qcow2"))
        chain.driver.unmanage_snapshot(binding)


def test_qemu_img_that_outlives_its_worker_keeps_the_lock(chain: Chain, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nread line < {gate}\n")
    fake.chmod(0o755)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(commands.ENVIRONMENT, "PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        assert syscalls.try_lock(lock)
        worker = threading.Thread(target=qemu_img.rebase, args=(lock, NEW, "qcow2", lock, 20))
        worker.start()
        with gate.open("w") as opened:
            # The command has started, because it has opened the gate too. Closing the lock stands for the dead worker.
            os.close(lock)
            another = os.open(tmp_path / "lock", os.O_RDWR)
            assert not syscalls.try_lock(another)
            opened.write("go on\n")
        until(lambda: syscalls.try_lock(another), "the command to end and to release its lock")
        worker.join()
        os.close(another)


def test_worker_gives_up_with_a_retryable_error_if_another_worker_is_frozen(chain: Chain) -> None:
    binding = chain.binding()
    impatient_driver = Qcow2Driver(str(chain.folder), command_timeout_seconds=0.1)
    fd = os.open(chain.folder / LOCK, os.O_RDWR)
    assert syscalls.try_lock(fd)

    with pytest.raises(errors.BackendBusy, match="lock"):
        impatient_driver.manage_snapshot(binding)

    os.close(fd)
    chain.driver.manage_snapshot(binding)
    chain.check_managed()


def test_lock_counts_only_while_the_lock_file_has_its_name(chain: Chain) -> None:
    """Another process removes the lock file after the worker has opened it and before it locks it."""
    real = syscalls.try_lock
    locked_fds: list[int] = []

    def lock_after_removal(fd: int) -> bool:
        if not locked_fds:
            (chain.folder / LOCK).unlink()
        locked_fds.append(fd)
        return real(fd)

    binding = chain.binding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syscalls, "try_lock", lock_after_removal)
        chain.driver.manage_snapshot(binding)

    assert len(locked_fds) == 2
    chain.check_managed()


# Something comes between.


def test_overlay_opened_during_the_rename_is_in_use_and_the_rename_is_undone(chain: Chain) -> None:
    binding = chain.binding()
    with ExitStack() as guests:

        def start_guest() -> None:
            guests.enter_context(qemu.held_open(chain.folder / "disk.qcow2"))

        with once_before("rebase", start_guest), pytest.raises(errors.InUse, match=r"disk\.qcow2"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()
    chain.driver.manage_snapshot(binding)
    chain.check_managed()


def test_overlay_made_during_the_rename_gets_the_new_name(chain: Chain) -> None:
    with once_before("rename", lambda: create(chain.folder / "late.qcow2", OLD, "qcow2", 0x55)):
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

        with once_before("rename", start_guest), pytest.raises(errors.InUse, match=r"late\.qcow2"):
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

    with once_before("rename", make), pytest.raises(errors.Unusable, match=r"'(late\.qcow2|link)'"):
        chain.driver.manage_snapshot(binding)

    assert len(qemu.chain(late)) == 3
    late.unlink()
    (chain.folder / "link").unlink(missing_ok=True)
    chain.check_unmanaged()


def test_overlay_made_after_a_crash_keeps_its_backing_file_if_its_name_cannot_be_rewritten(chain: Chain) -> None:
    binding, late = chain.binding(), chain.folder / "late.qcow2"
    assert killed(chain.driver.manage_snapshot, binding, 4)
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
    with once_before("rename", (chain.folder / NEW).unlink), pytest.raises(errors.BackendError):
        chain.driver.manage_snapshot(chain.binding())

    assert (chain.folder / OLD).exists()
    assert not hidden(chain.folder)


def test_file_that_takes_the_old_name_during_the_rename_keeps_it(chain: Chain) -> None:
    binding = chain.binding()
    another = chain.folder / "another.qcow2"
    qemu.create(another, SIZE)
    content = another.read_bytes()

    with once_before("link", lambda: another.replace(chain.folder / OLD)), pytest.raises(errors.SourceNotFound):
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


# Something fails, or can't be known.


def test_hanging_qemu_img_is_ended_and_the_rename_is_undone(chain: Chain, tmp_path: Path) -> None:
    binding = chain.binding()
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 1000\n")
    fake.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.ENVIRONMENT, "PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        impatient_driver = Qcow2Driver(str(chain.folder), command_timeout_seconds=0.2)

        with pytest.raises(errors.BackendUnavailable, match="did not finish within"):
            impatient_driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_missing_qemu_img_is_an_error_with_the_remedy(chain: Chain, tmp_path: Path) -> None:
    binding = chain.binding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.ENVIRONMENT, "PATH", str(tmp_path))

        with pytest.raises(errors.BackendUnavailable, match="is qemu-utils installed"):
            chain.driver.check()
        with pytest.raises(errors.BackendUnavailable, match="is qemu-utils installed"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_rename_fails_if_qemu_img_reports_success_but_changes_nothing(chain: Chain, tmp_path: Path) -> None:
    binding = chain.binding()
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.symlink_to("/bin/true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.ENVIRONMENT, "PATH", str(fake.parent))

        with pytest.raises(errors.BackendError, match="couldn't change"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_overlay_whose_name_matches_no_pattern_blocks_the_rename(chain: Chain) -> None:
    qemu.create(chain.folder / "vm.snap1", SIZE, OLD)

    with pytest.raises(errors.Unusable, match=r"'vm\.snap1' records it.*image_patterns"):
        chain.driver.manage_snapshot(chain.binding())

    assert chain.names() == {*FILES, "vm.snap1"}


def test_unreadable_image_that_may_be_an_overlay_blocks_every_rename(chain: Chain) -> None:
    (chain.folder / "odd.qcow2").write_bytes(b"QFI\xfb" + bytes(100))

    with pytest.raises(errors.Unusable, match=r"'odd\.qcow2' can't be read"):
        chain.driver.manage_snapshot(chain.binding())

    assert chain.names() == {*FILES, "odd.qcow2"}


@pytest.mark.parametrize("data", [b"QFI\xfb" + bytes(100), b"", b"anything"])
def test_data_of_files_that_are_no_images_block_nothing(chain: Chain, data: bytes) -> None:
    """A guest can write anything into a raw disk."""
    (chain.folder / "guest.img").write_bytes(data)

    chain.driver.manage_snapshot(chain.binding())

    assert NEW in chain.names()


@pytest.mark.parametrize("name", ["private.qcow2", "private.img"])
def test_file_that_snapmanage_may_not_read_blocks_every_rename(chain: Chain, name: str) -> None:
    (chain.folder / name).write_bytes(b"secret")
    binding = chain.binding()
    real = os.open

    def guarded(path: Any, *arguments: Any, **named: Any) -> int:
        if path == name:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        # Root may read everything, so the system call stands in for the refusal.
        patch.setattr(os, "open", guarded)
        with pytest.raises(errors.Unusable, match="may not read it"):
            chain.driver.manage_snapshot(binding)

    assert chain.names() == {*FILES, name}


def test_file_system_without_hard_links_is_an_error_with_the_remedy(chain: Chain) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    binding = chain.binding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(errors.BackendPermission, match="hard links"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_overlay_that_qemu_img_cannot_open_blocks_the_rename(chain: Chain) -> None:
    binding = chain.binding()
    with (chain.folder / "disk.qcow2").open("r+b") as image:
        image.seek(CRYPT_METHOD_OFFSET)
        image.write((2).to_bytes(4))

    with pytest.raises(errors.Unusable, match=r"overlay 'disk\.qcow2'.*encrypted"):
        chain.driver.manage_snapshot(binding)

    assert chain.names() == FILES


def test_file_with_the_hidden_name_is_never_replaced(chain: Chain) -> None:
    """Both the hidden name and the old name belong to other files."""
    binding = chain.binding()
    hidden_file = chain.folder / f"{HIDDEN_PREFIX}{OLD}"
    hidden_file.write_bytes(b"precious")

    with pytest.raises(errors.Unusable, match="in the way"):
        chain.driver.manage_snapshot(binding)

    assert hidden_file.read_bytes() == b"precious"
    hidden_file.unlink()
    chain.check_unmanaged()


def test_snapshot_opened_for_reading_is_in_use(chain: Chain) -> None:
    with (
        qemu.held_open(chain.folder / OLD, "qcow2", "-r"),
        pytest.raises(errors.InUse, match="holds a lock on the file"),
    ):
        chain.driver.manage_snapshot(chain.binding())


def test_scan_blocks_no_guest_from_starting(chain: Chain) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            chain.driver.list_snapshots()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(5):
            qemu.qemu_io(chain.folder / "disk.qcow2", "write 0 512")
    finally:
        done.set()
        looking.join()
