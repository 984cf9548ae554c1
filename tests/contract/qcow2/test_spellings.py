"""Another image records a backing file in a form that can't be rewritten: the file keeps its name, and a list says why.

QEMU's own tools decide which forms lead to a file: what they open before, they open afterwards.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import syscalls
from tests.needs import require
from tests.services import qemu

SIZE = 1024**2
NEW = "snapshot-1.qcow2"
OTHER_USER = 65534

# Each is opened by QEMU, and leads to base.qcow2 of the directory DIR.
OPENED = (
    "../images/base.qcow2",
    ".//base.qcow2",
    "DIR//base.qcow2",
    "//DIR/base.qcow2",
    "DIR/./base.qcow2",
    "DIR/../images/base.qcow2",
    "DIR/../linked/base.qcow2",
    "../linked/base.qcow2",
    "../file-link",
    "../hard-link",
    "link.qcow2",
    "here/base.qcow2",
    "file:DIR/base.qcow2",
    "file://DIR/base.qcow2",
    "blkdebug::DIR/base.qcow2",
    'json:{"driver":"qcow2","file":{"driver":"file","filename":"DIR/base.qcow2"}}',
    'json:{"driver":"qcow2","file.filename":"DIR/base.qcow2"}',
    'json:{"file.filename":"DIR/../linked/base.qcow2"}',
    "json: {'driver':'qcow2','file.filename':'DIR/base.qcow2'}",
    'json:{"driver":"qcow2","file":{"filename":"DIR/b\\u0061se.qcow2"}}',
    'json:{"driver":"raw","file":{"driver":"file","filename":"DIR/base.qcow2"}}',
    'json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"DIR/base.qcow2"}}}',
    'json:{"driver":"qcow2","file.driver":"blkdebug","file.x-image":"file:DIR/base.qcow2"}',
    'json:{"driver":"qcow2","file.driver":"blkdebug","file.x-image":"json:{\\"filename\\":\\"DIR/base.qcow2\\"}"}',
    'blkdebug::json:{"driver":"file","filename":"DIR/base.qcow2"}',
    'blkdebug::blkdebug::json:{"driver":"file","filename":"DIR/base.qcow2"}',
)
# QEMU opens them only in another folder, on another host, in a guest that has more, or not any more.
ELSEWHERE = (
    "file:base.qcow2",
    "base.qcow2/.",
    "/mnt/nowhere/base.qcow2",
    "nfs://server/export/b%61se.qcow2?uid=1",
    "ssh://host/srv/images/base.qcow2",
    'json:{"driver":"qcow2","file.filename":"base.qcow2"}',
    'json:{"driver":"qcow2","file":{"driver":"nfs","server":{"host":"h","type":"inet"},"path":"/base.qcow2"}}',
    'json:{"driver":"qcow2","file":"node0"}',
    'json:{"driver":"quorum","vote-threshold":1,"children":[{"file.filename":"DIR/base.qcow2"},"node1"]}',
    'json:{"driver":"quorum","vote-threshold":1,"children.0.file.filename":"DIR/base.qcow2"}',
    'json:{"driver":"copy-on-read","file":{"driver":"qcow2","file.filename":"DIR/base.qcow2"}}',
    'json:{"driver":"qcow2","file.filename":"DIR/other.qcow2","backing":{"file.filename":"DIR/base.qcow2"}}',
    'json:{"driver":"qcow2","driver":"qcow2","file.filename":"DIR/base.qcow2"}',
    "/dev/fdset/1",
    "/proc/self/fd/7",
    "unknown:base.qcow2",
    "blkverify:DIR/other.qcow2:DIR/base.qcow2",
)
# They mean another file, or none of the directory.
FOREIGN = (
    "DIR//other.qcow2",
    "../elsewhere/base.qcow2",
    "/mnt/nowhere/other-base.qcow2",
    "nbd://localhost/base.qcow2",
    "nbd:localhost:10809:exportname=base.qcow2",
    "https://localhost/base.qcow2",
    "gone.qcow2",
    'json:{"driver":"qcow2","file":{"driver":"nbd","host":"h","port":"1","export":"base.qcow2"}}',
    'json:{"driver":"raw","file.driver":"https","file.url":"https://h/base.qcow2"}',
    'json:{"driver":"null-co"}',
    'json:{"driver":"qcow2","file.filename":"DIR/other.qcow2"}',
)


class World:
    """A base with one plain overlay, and a folder and links beside it; `top2.qcow2` is each test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.folder.mkdir()
        self.driver = Qcow2Driver(str(self.folder))
        for name in ("base.qcow2", "other.qcow2"):
            qemu.create(self.folder / name, SIZE)
        qemu.create(self.folder / "top1.qcow2", SIZE, "base.qcow2")

    def surround(self) -> None:
        beside = self.folder.parent
        (beside / "elsewhere").mkdir()
        qemu.create(beside / "elsewhere" / "base.qcow2", SIZE)
        (beside / "linked").symlink_to("images")
        (beside / "file-link").symlink_to("images/base.qcow2")
        (self.folder / "here").symlink_to(".")

    def record(self, name: str, recorded: str, kind: str = "qcow2") -> None:
        """Make an image that records exactly this, whether it leads anywhere or not."""
        qemu.create(self.folder / name, SIZE)
        written = recorded.replace("DIR", str(self.folder))
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", kind, "-b", written, self.folder / name)

    def found(self, name: str = "base.qcow2") -> BackendSnapshot:
        return self.driver.find_snapshot(Reference.named(name))

    def manage(self, name: str = "base.qcow2") -> None:
        self.driver.manage_snapshot(Binding(self.found(name).identity, name, NEW))

    def opens(self, name: str) -> bool:
        """Whether QEMU opens the whole chain, started in another folder."""
        argv = ["qemu-img", "info", "-U", "--backing-chain", str(self.folder / name)]
        return subprocess.run(argv, capture_output=True, check=False, cwd="/", timeout=qemu.SECONDS).returncode == 0

    def refused(self, said: str, name: str = "base.qcow2") -> None:
        """The list says that the snapshot can't be managed and why, and managing is refused for good with the same."""
        [listed] = [each for each in self.driver.list_snapshots() if each.name == name]
        assert listed.unsafe is Unsafe.UNUSABLE
        assert said in listed.unsafe_reason
        assert self.found(name) == listed
        with pytest.raises(errors.Unusable) as refusal:
            self.manage(name)
        assert listed.unsafe_reason in str(refusal.value)
        with pytest.raises(errors.Unusable):
            refuse_unsafe(listed)


@contextmanager
def as_another_user(*owned: Path) -> Iterator[None]:
    """Go on as somebody who has these files; root may do everything."""
    for path in owned:
        os.chown(path, OTHER_USER, -1)
    os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    require(*qemu.PROGRAMS)
    return World(tmp_path)


@pytest.fixture
def open_world() -> Iterator[World]:
    """A world in a folder that others than root may enter."""
    require(*qemu.PROGRAMS, root=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield World(Path(folder))


@pytest.mark.parametrize("version", ["0.10", "1.1"])
@pytest.mark.parametrize("recorded", OPENED)
def test_chain_that_spells_the_file_otherwise_stays_whole(world: World, recorded: str, version: str) -> None:
    world.surround()
    if recorded == "link.qcow2":
        (world.folder / "link.qcow2").symlink_to("base.qcow2")
    if recorded == "../hard-link":
        (world.folder.parent / "hard-link").hardlink_to(world.folder / "base.qcow2")
    world.record("top2.qcow2", recorded, "raw" if '"raw"' in recorded else "qcow2")
    qemu.qemu_img("amend", "-f", "qcow2", "-o", f"compat={version}", world.folder / "top2.qcow2")
    assert world.opens("top2.qcow2")

    world.refused("'top2.qcow2'")

    assert world.opens("top2.qcow2")
    assert world.opens("top1.qcow2")


@pytest.mark.parametrize("recorded", ELSEWHERE)
def test_record_that_could_mean_the_file_keeps_it_from_being_renamed(world: World, recorded: str) -> None:
    world.record("top2.qcow2", recorded)

    world.refused("'top2.qcow2'")

    assert world.opens("top1.qcow2")


@pytest.mark.parametrize("recorded", FOREIGN)
def test_record_that_means_another_file_keeps_nothing_from_being_renamed(world: World, recorded: str) -> None:
    world.surround()
    world.record("top2.qcow2", recorded)

    world.manage()

    assert world.opens("top1.qcow2")


def test_path_that_snapmanage_may_not_follow_may_lead_to_any_file(open_world: World) -> None:
    world = open_world
    private = world.folder.parent / "private"
    private.mkdir(mode=0o700)
    (private / "x").symlink_to("../images/base.qcow2")
    world.record("top2.qcow2", f"{private}/x")

    with as_another_user(world.folder, *world.folder.iterdir()):
        world.refused("'top2.qcow2'")
        (world.folder / "top2.qcow2").unlink()
        world.manage()


def test_file_that_snapmanage_may_not_link_is_listed_as_unusable(open_world: World) -> None:
    world = open_world
    os.chmod(world.folder / "base.qcow2", 0o644)
    if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "0":
        pytest.skip("the system lets everyone link every file")

    with as_another_user(world.folder, world.folder / "top1.qcow2"):
        world.refused("snapmanage's own")


def test_overlay_that_snapmanage_may_not_write_is_listed_as_unusable(open_world: World) -> None:
    world = open_world
    os.chmod(world.folder / "top1.qcow2", 0o644)

    with as_another_user(world.folder, world.folder / "base.qcow2"):
        world.refused("'top1.qcow2' can't be told another name: snapmanage may not write it")


def test_file_without_its_odd_overlay_is_managed(world: World) -> None:
    world.record("top2.qcow2", "DIR//base.qcow2")
    world.refused("qemu-img rebase -u")

    qemu.qemu_img(
        *("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", world.folder / "top2.qcow2"),
    )
    world.manage()

    assert world.opens("top1.qcow2")
    assert world.opens("top2.qcow2")


def test_name_that_ends_where_qemu_ends_it_is_read_so(world: World) -> None:
    world.record("top2.qcow2", "base.qcow2?junk")
    content = (world.folder / "top2.qcow2").read_bytes()
    (world.folder / "top2.qcow2").write_bytes(content.replace(b"base.qcow2?junk", b"base.qcow2\0junk"))
    assert world.opens("top2.qcow2")

    world.manage()

    assert world.opens("top2.qcow2")


def test_name_that_is_no_utf_8_means_another_file(world: World) -> None:
    latin = os.fsdecode(b"caf\xe9.qcow2")
    (world.folder / "other.qcow2").rename(world.folder / latin)
    world.record("top2.qcow2", "cafe.qcow2")
    content = (world.folder / "top2.qcow2").read_bytes()
    (world.folder / "top2.qcow2").write_bytes(content.replace(b"cafe.qcow2", b"caf\xe9.qcow2"))
    assert world.opens("top2.qcow2")

    world.manage()

    assert world.opens("top1.qcow2")
    assert world.opens("top2.qcow2")


def test_path_through_another_mount_leads_to_the_file(world: World) -> None:
    require("mount", root=True)
    mounted = world.folder.parent / "mounted"
    mounted.mkdir()
    argv = ["mount", "--bind", str(world.folder), str(mounted)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        world.record("top2.qcow2", f"{mounted}/base.qcow2")
        world.refused("'top2.qcow2'")
        assert world.opens("top2.qcow2")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_name_in_another_case_counts_where_the_directory_tells_no_case_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few kernels have such a directory to test with, so that the system call stands in for it."""
    world.record("top2.qcow2", "BASE.qcow2")
    real = syscalls.target_status
    monkeypatch.setattr(syscalls, "target_status", lambda fd, path: real(fd, path.lower()))

    world.refused("'top2.qcow2'")


def test_directory_that_is_configured_through_a_link_keeps_its_spellings_apart(world: World) -> None:
    """`..` behind a link leads beside the link's target, whatever the path looks like."""
    top = world.folder.parent
    (top / "far").mkdir()
    (top / "near").mkdir()
    (top / "near" / "link").symlink_to("../far")
    world.folder.rename(top / "far" / "images")
    world.folder = top / "far" / "images"
    (top / "far" / "inner").mkdir()
    (top / "near" / "images").mkdir()
    qemu.create(top / "near" / "images" / "base.qcow2", SIZE)
    (top / "near" / "deep").symlink_to("../far/inner")
    world.driver = Qcow2Driver(f"{top}/near/deep/../images")
    world.record("top2.qcow2", f"{top}/near/images/base.qcow2")

    world.manage()

    assert world.opens("top1.qcow2")
    assert qemu.chain(world.folder / "top2.qcow2")[0]["full-backing-filename"] == f"{top}/near/images/base.qcow2"


# Files that are no images on top, or no qcow2, and record the file all the same.


@pytest.mark.parametrize("name", ["vm.snap1", ".hidden.qcow2", "\udcff.qcow2", "x" * 255])
@pytest.mark.parametrize("recorded", ["base.qcow2", "DIR//base.qcow2"])
def test_overlay_of_any_name_counts(world: World, name: str, recorded: str) -> None:
    world.record("top2.qcow2", recorded)
    (world.folder / "top2.qcow2").rename(world.folder / name)
    assert world.opens(name)

    world.refused(repr(name))

    assert world.opens(name)


@pytest.mark.parametrize("kind", ["qed", "qcow"])
@pytest.mark.parametrize("name", ["old", "old.qcow2"])
def test_overlay_of_another_format_counts(world: World, kind: str, name: str) -> None:
    argv = ("-q", "-f", kind, "-b", "base.qcow2", "-F", "qcow2", world.folder / name)
    qemu.qemu_img("create", *argv)
    assert world.opens(name)

    world.refused(repr(name))

    assert world.opens(name)


@pytest.mark.parametrize("kind", ["qed", "qcow", "vmdk", "vhdx", "vpc", "vdi", "luks"])
def test_image_of_another_format_on_its_own_keeps_nothing_from_being_renamed(world: World, kind: str) -> None:
    options = ["--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10"] if kind == "luks" else []
    for name in ("lonely.qcow2", "lonely"):
        qemu.qemu_img("create", "-q", "-f", kind, *options, world.folder / name, "1M")

    world.manage()

    assert world.opens("top1.qcow2")


@pytest.mark.parametrize("recorded", ["base.raw", "DIR/base.raw", "../images/base.raw"])
def test_extent_of_a_vmdk_counts(world: World, recorded: str) -> None:
    (world.folder / "base.raw").write_bytes(bytes(SIZE))
    qemu.create(world.folder / "disk.qcow2", SIZE, "base.raw", "raw")
    qemu.qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", world.folder / "flat.vmdk", "1M")
    text = (world.folder / "flat.vmdk").read_text()
    written = recorded.replace("DIR", str(world.folder))
    (world.folder / "flat.vmdk").write_text(text.replace("flat-flat.vmdk", written))
    assert world.opens("flat.vmdk")

    world.refused("'flat.vmdk'", "base.raw")

    assert world.opens("flat.vmdk")


@pytest.mark.parametrize("recorded", ["base.raw", "DIR/base.raw", "DIR/../images/base.raw"])
def test_image_that_keeps_its_data_in_the_file_counts(
    world: World, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    data = recorded.replace("DIR", str(world.folder))
    qemu.qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=on", "split.qcow2", "1M")
    qemu.create(world.folder / "disk.qcow2", SIZE, "base.raw", "raw")

    world.refused("'split.qcow2'", "base.raw")

    qemu.qemu_io(Path("split.qcow2"), "read 0 512")


def test_link_to_the_file_would_lead_nowhere(world: World) -> None:
    (world.folder / "current.qcow2").symlink_to("base.qcow2")

    world.refused("'current.qcow2'")

    assert world.opens("current.qcow2")


def test_overlay_that_lies_elsewhere_counts_where_a_link_leads_to_it(world: World) -> None:
    world.surround()
    world.record("top2.qcow2", "base.qcow2")
    (world.folder / "top2.qcow2").rename(world.folder.parent / "top2.qcow2")
    (world.folder / "moved.qcow2").symlink_to("../top2.qcow2")
    assert world.opens("moved.qcow2")

    world.refused("'moved.qcow2'")

    assert world.opens("moved.qcow2")


def test_data_that_a_guest_wrote_into_a_recorded_raw_disk_do_not_count(world: World) -> None:
    world.record("hostile", "DIR//base.qcow2")
    world.record("guest.qcow2", "hostile", "raw")

    world.manage()

    assert world.opens("top1.qcow2")


def test_data_that_name_no_file_keep_nothing_from_being_renamed_where_no_name_says_that_it_is_an_image(
    world: World,
) -> None:
    """A guest can write what it likes into a raw disk, and could stop every rename."""
    world.record("guest.img", 'json:{"driver":"qcow2","file":"node0"}')

    world.manage()

    assert world.opens("top1.qcow2")


# Going back.


def test_snapshot_is_not_given_back_while_a_record_of_its_new_name_cannot_be_changed(world: World) -> None:
    binding = Binding(world.found().identity, "base.qcow2", NEW)
    world.driver.manage_snapshot(binding)
    world.record("top2.qcow2", f"DIR//{NEW}")

    with pytest.raises(errors.Unusable, match=r"top2\.qcow2"):
        world.driver.unmanage_snapshot(binding)

    assert world.opens("top2.qcow2")
    (world.folder / "top2.qcow2").unlink()
    world.driver.unmanage_snapshot(binding)
    assert world.opens("top1.qcow2")


# What the list knows before managing would find it out.


def test_directory_of_a_copied_image_keeps_nothing_from_being_renamed(world: World) -> None:
    """Copies have the data, the size and the times of the file, and another number."""
    world.surround()
    source, copy = world.folder / "base.qcow2", world.folder.parent / "elsewhere" / "base.qcow2"
    copy.write_bytes(source.read_bytes())
    os.utime(copy, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    world.record("top2.qcow2", str(copy))

    world.manage()

    assert world.opens("top1.qcow2")


def test_name_that_leaves_no_room_for_the_way_back_is_listed_as_unusable(world: World) -> None:
    name = "base.qcow2".ljust(238, "x")
    (world.folder / "base.qcow2").rename(world.folder / name)
    world.record("top1.qcow2", name)

    world.refused("237 bytes", name)


def test_record_that_leaves_no_room_for_another_name_is_listed_as_unusable(world: World) -> None:
    deep = world.folder.joinpath(*["d" * 200] * 4)
    deep.mkdir(parents=True)
    world.folder = deep
    world.driver = Qcow2Driver(str(deep))
    qemu.create(deep / "base.qcow2", SIZE)
    world.record("top1.qcow2", "DIR/base.qcow2")

    world.refused("no room")


def test_ending_of_a_name_that_is_too_long_to_be_kept_is_left_out(world: World) -> None:
    name = "base." + "x" * 230
    (world.folder / "base.qcow2").rename(world.folder / name)
    world.record("top1.qcow2", name)
    found = world.found(name)

    managed = world.driver.managed_name(found, "snapshot-1")

    assert managed == "snapshot-1"
    world.driver.manage_snapshot(Binding(found.identity, name, managed))
    assert world.opens("top1.qcow2")


@pytest.mark.parametrize("name", ["base.qcow2", "top1.qcow2"])
def test_file_that_is_marked_immutable_is_listed_as_unusable(world: World, name: str) -> None:
    require("chattr", root=True)
    marked = ["chattr", "+i", str(world.folder / name)]
    if subprocess.run(marked, capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no such mark")
    try:
        world.refused(repr(name))
    finally:
        subprocess.run(["chattr", "-i", str(world.folder / name)], check=True)
    world.manage()


def test_snapshot_whose_volume_cannot_be_registered_is_listed_as_unusable(world: World) -> None:
    world.record("middle.qcow2", "base.qcow2")
    (world.folder / "top1.qcow2").unlink()
    world.record("top1.qcow2", "middle.qcow2")
    with (world.folder / "top1.qcow2").open("r+b") as image:
        image.seek(72)
        image.write((1 << 1).to_bytes(8))

    world.refused("'top1.qcow2'")


def test_one_unreadable_file_keeps_no_other_from_being_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu.qemu_img("snapshot", "-c", "daily", world.folder / "other.qcow2")
    broken = world.folder / "broken.qcow2"
    broken.write_bytes(b"anything")
    real = os.pread

    def failing(fd: int, size: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(fd), broken.stat()):
            raise OSError(5, "Input/output error")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", failing)

    assert {(each.name, each.unsafe) for each in world.driver.list_snapshots()} == {
        ("base.qcow2", Unsafe.UNUSABLE),
        ("other.qcow2/1", None),
    }
    world.refused("'broken.qcow2' can't be read: Input/output error")
