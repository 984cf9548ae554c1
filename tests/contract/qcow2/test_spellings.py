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

# Backing file names that QEMU opens and that lead to base.qcow2 of the directory DIR.
OPENED_BY_QEMU = (
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
# Backing file names that QEMU opens only in another folder, on another host, or in a guest with more nodes.
POSSIBLE_ON_ANOTHER_HOST = (
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
# Backing file names of other files, or of none in the directory.
OTHER_FILES = (
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


class ImageDirectory:
    """A directory with base.qcow2 and one plain overlay, top1.qcow2; each test makes its own top2.qcow2."""

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
        """Make an image with exactly this backing file name, even if no file is there."""
        qemu.create(self.folder / name, SIZE)
        written = recorded.replace("DIR", str(self.folder))
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", kind, "-b", written, self.folder / name)

    def found(self, name: str = "base.qcow2") -> BackendSnapshot:
        return self.driver.find_snapshot(Reference.named(name))

    def manage(self, name: str = "base.qcow2") -> None:
        self.driver.manage_snapshot(Binding(self.found(name).identity, name, NEW))

    def opens(self, name: str) -> bool:
        """Return whether QEMU, started in another folder, opens the whole chain."""
        argv = ["qemu-img", "info", "-U", "--backing-chain", str(self.folder / name)]
        return (
            subprocess.run(argv, capture_output=True, check=False, cwd="/", timeout=qemu.TIMEOUT_SECONDS).returncode
            == 0
        )

    def check_refused(self, reason: str, name: str = "base.qcow2") -> None:
        """Check that the snapshot is listed as unusable for this reason, and that managing it fails for it too."""
        [listed] = [each for each in self.driver.list_snapshots() if each.name == name]
        assert listed.unsafe is Unsafe.UNUSABLE
        assert reason in listed.unsafe_reason
        assert self.found(name) == listed
        with pytest.raises(errors.Unusable) as refusal:
            self.manage(name)
        assert listed.unsafe_reason in str(refusal.value)
        with pytest.raises(errors.Unusable):
            refuse_unsafe(listed)


@contextmanager
def as_another_user(*owned: Path) -> Iterator[None]:
    """Run as a user who owns these files, because root may do everything."""
    for path in owned:
        os.chown(path, OTHER_USER, -1)
    os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def images(tmp_path: Path) -> ImageDirectory:
    require(*qemu.PROGRAMS)
    return ImageDirectory(tmp_path)


@pytest.fixture
def shared_images() -> Iterator[ImageDirectory]:
    """Return a directory that other users than root may enter."""
    require(*qemu.PROGRAMS, root=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield ImageDirectory(Path(folder))


@pytest.mark.parametrize("version", ["0.10", "1.1"])
@pytest.mark.parametrize("recorded", OPENED_BY_QEMU)
def test_backing_file_name_in_another_spelling_blocks_the_rename(
    images: ImageDirectory, recorded: str, version: str
) -> None:
    images.surround()
    if recorded == "link.qcow2":
        (images.folder / "link.qcow2").symlink_to("base.qcow2")
    if recorded == "../hard-link":
        (images.folder.parent / "hard-link").hardlink_to(images.folder / "base.qcow2")
    images.record("top2.qcow2", recorded, "raw" if '"raw"' in recorded else "qcow2")
    qemu.qemu_img("amend", "-f", "qcow2", "-o", f"compat={version}", images.folder / "top2.qcow2")
    assert images.opens("top2.qcow2")

    images.check_refused("'top2.qcow2'")

    assert images.opens("top2.qcow2")
    assert images.opens("top1.qcow2")


@pytest.mark.parametrize("recorded", POSSIBLE_ON_ANOTHER_HOST)
def test_backing_file_name_that_could_mean_the_file_blocks_the_rename(images: ImageDirectory, recorded: str) -> None:
    images.record("top2.qcow2", recorded)

    images.check_refused("'top2.qcow2'")

    assert images.opens("top1.qcow2")


@pytest.mark.parametrize("recorded", OTHER_FILES)
def test_backing_file_name_of_another_file_blocks_nothing(images: ImageDirectory, recorded: str) -> None:
    images.surround()
    images.record("top2.qcow2", recorded)

    images.manage()

    assert images.opens("top1.qcow2")


def test_path_that_snapmanage_may_not_follow_blocks_every_rename(shared_images: ImageDirectory) -> None:
    images = shared_images
    private = images.folder.parent / "private"
    private.mkdir(mode=0o700)
    (private / "x").symlink_to("../images/base.qcow2")
    images.record("top2.qcow2", f"{private}/x")

    with as_another_user(images.folder, *images.folder.iterdir()):
        images.check_refused("'top2.qcow2'")
        (images.folder / "top2.qcow2").unlink()
        images.manage()


def test_file_that_snapmanage_may_not_link_is_listed_as_unusable(shared_images: ImageDirectory) -> None:
    images = shared_images
    os.chmod(images.folder / "base.qcow2", 0o644)
    if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "0":
        pytest.skip("this system lets every user link every file")

    with as_another_user(images.folder, images.folder / "top1.qcow2"):
        images.check_refused("snapmanage's user must own it")


def test_snapshot_below_an_overlay_that_snapmanage_may_not_write_is_listed_as_unusable(
    shared_images: ImageDirectory,
) -> None:
    images = shared_images
    os.chmod(images.folder / "top1.qcow2", 0o644)

    with as_another_user(images.folder, images.folder / "base.qcow2"):
        images.check_refused("'top1.qcow2' can't record another backing file name: snapmanage may not write it")


def test_file_is_managed_after_the_reported_remedy(images: ImageDirectory) -> None:
    images.record("top2.qcow2", "DIR//base.qcow2")
    images.check_refused("qemu-img rebase -u")

    qemu.qemu_img(
        *("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", images.folder / "top2.qcow2"),
    )
    images.manage()

    assert images.opens("top1.qcow2")
    assert images.opens("top2.qcow2")


def test_backing_file_name_ends_at_a_nul_as_in_qemu(images: ImageDirectory) -> None:
    images.record("top2.qcow2", "base.qcow2?junk")
    content = (images.folder / "top2.qcow2").read_bytes()
    (images.folder / "top2.qcow2").write_bytes(content.replace(b"base.qcow2?junk", b"base.qcow2\0junk"))
    assert images.opens("top2.qcow2")

    images.manage()

    assert images.opens("top2.qcow2")


def test_backing_file_name_that_is_not_utf_8_is_followed_byte_by_byte(images: ImageDirectory) -> None:
    latin = os.fsdecode(b"caf\xe9.qcow2")
    (images.folder / "other.qcow2").rename(images.folder / latin)
    images.record("top2.qcow2", "cafe.qcow2")
    content = (images.folder / "top2.qcow2").read_bytes()
    (images.folder / "top2.qcow2").write_bytes(content.replace(b"cafe.qcow2", b"caf\xe9.qcow2"))
    assert images.opens("top2.qcow2")

    images.manage()

    assert images.opens("top1.qcow2")
    assert images.opens("top2.qcow2")


def test_path_through_another_mount_blocks_the_rename(images: ImageDirectory) -> None:
    require("mount", root=True)
    mounted = images.folder.parent / "mounted"
    mounted.mkdir()
    argv = ["mount", "--bind", str(images.folder), str(mounted)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("this system allows no mount")
    try:
        images.record("top2.qcow2", f"{mounted}/base.qcow2")
        images.check_refused("'top2.qcow2'")
        assert images.opens("top2.qcow2")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_name_in_another_case_blocks_the_rename_in_a_case_insensitive_directory(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few kernels support such directories, so the system call stands in for one."""
    images.record("top2.qcow2", "BASE.qcow2")
    real = syscalls.target_status
    monkeypatch.setattr(syscalls, "target_status", lambda fd, path: real(fd, path.lower()))

    images.check_refused("'top2.qcow2'")


def test_path_with_dots_after_a_link_is_not_shortened(images: ImageDirectory) -> None:
    """`..` after a link leads to the parent of the link's target."""
    top = images.folder.parent
    (top / "far").mkdir()
    (top / "near").mkdir()
    (top / "near" / "link").symlink_to("../far")
    images.folder.rename(top / "far" / "images")
    images.folder = top / "far" / "images"
    (top / "far" / "inner").mkdir()
    (top / "near" / "images").mkdir()
    qemu.create(top / "near" / "images" / "base.qcow2", SIZE)
    (top / "near" / "deep").symlink_to("../far/inner")
    images.driver = Qcow2Driver(f"{top}/near/deep/../images")
    images.record("top2.qcow2", f"{top}/near/images/base.qcow2")

    images.manage()

    assert images.opens("top1.qcow2")
    assert qemu.chain(images.folder / "top2.qcow2")[0]["full-backing-filename"] == f"{top}/near/images/base.qcow2"


# Files that are no images on top, or no qcow2, and record the file all the same.


@pytest.mark.parametrize("name", ["vm.snap1", ".hidden.qcow2", "\udcff.qcow2", "x" * 255])
@pytest.mark.parametrize("recorded", ["base.qcow2", "DIR//base.qcow2"])
def test_overlay_with_any_name_blocks_the_rename(images: ImageDirectory, name: str, recorded: str) -> None:
    images.record("top2.qcow2", recorded)
    (images.folder / "top2.qcow2").rename(images.folder / name)
    assert images.opens(name)

    images.check_refused(repr(name))

    assert images.opens(name)


@pytest.mark.parametrize("kind", ["qed", "qcow"])
@pytest.mark.parametrize("name", ["old", "old.qcow2"])
def test_overlay_in_another_format_blocks_the_rename(images: ImageDirectory, kind: str, name: str) -> None:
    argv = ("-q", "-f", kind, "-b", "base.qcow2", "-F", "qcow2", images.folder / name)
    qemu.qemu_img("create", *argv)
    assert images.opens(name)

    images.check_refused(repr(name))

    assert images.opens(name)


@pytest.mark.parametrize("kind", ["qed", "qcow", "vmdk", "vhdx", "vpc", "vdi", "luks"])
def test_image_in_another_format_without_a_backing_file_blocks_nothing(images: ImageDirectory, kind: str) -> None:
    options = ["--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10"] if kind == "luks" else []
    for name in ("lonely.qcow2", "lonely"):
        qemu.qemu_img("create", "-q", "-f", kind, *options, images.folder / name, "1M")

    images.manage()

    assert images.opens("top1.qcow2")


@pytest.mark.parametrize("recorded", ["base.raw", "DIR/base.raw", "../images/base.raw"])
def test_vmdk_with_the_file_as_its_extent_blocks_the_rename(images: ImageDirectory, recorded: str) -> None:
    (images.folder / "base.raw").write_bytes(bytes(SIZE))
    qemu.create(images.folder / "disk.qcow2", SIZE, "base.raw", "raw")
    qemu.qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", images.folder / "flat.vmdk", "1M")
    text = (images.folder / "flat.vmdk").read_text()
    written = recorded.replace("DIR", str(images.folder))
    (images.folder / "flat.vmdk").write_text(text.replace("flat-flat.vmdk", written))
    assert images.opens("flat.vmdk")

    images.check_refused("'flat.vmdk'", "base.raw")

    assert images.opens("flat.vmdk")


@pytest.mark.parametrize("recorded", ["base.raw", "DIR/base.raw", "DIR/../images/base.raw"])
def test_image_with_the_file_as_its_data_file_blocks_the_rename(
    images: ImageDirectory, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.folder)
    data = recorded.replace("DIR", str(images.folder))
    qemu.qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=on", "split.qcow2", "1M")
    qemu.create(images.folder / "disk.qcow2", SIZE, "base.raw", "raw")

    images.check_refused("'split.qcow2'", "base.raw")

    qemu.qemu_io(Path("split.qcow2"), "read 0 512")


def test_symbolic_link_to_the_file_blocks_the_rename(images: ImageDirectory) -> None:
    (images.folder / "current.qcow2").symlink_to("base.qcow2")

    images.check_refused("'current.qcow2'")

    assert images.opens("current.qcow2")


def test_overlay_outside_the_directory_blocks_the_rename_if_a_link_leads_to_it(images: ImageDirectory) -> None:
    images.surround()
    images.record("top2.qcow2", "base.qcow2")
    (images.folder / "top2.qcow2").rename(images.folder.parent / "top2.qcow2")
    (images.folder / "moved.qcow2").symlink_to("../top2.qcow2")
    assert images.opens("moved.qcow2")

    images.check_refused("'moved.qcow2'")

    assert images.opens("moved.qcow2")


def test_data_of_a_raw_backing_file_block_nothing(images: ImageDirectory) -> None:
    images.record("hostile", "DIR//base.qcow2")
    images.record("guest.qcow2", "hostile", "raw")

    images.manage()

    assert images.opens("top1.qcow2")


def test_name_that_cannot_be_followed_blocks_nothing_in_a_file_that_is_no_image(
    images: ImageDirectory,
) -> None:
    """A guest can write anything into a raw disk, and could stop every rename."""
    images.record("guest.img", 'json:{"driver":"qcow2","file":"node0"}')

    images.manage()

    assert images.opens("top1.qcow2")


# Going back.


def test_snapshot_is_not_unmanaged_while_its_managed_name_is_recorded_in_another_spelling(
    images: ImageDirectory,
) -> None:
    binding = Binding(images.found().identity, "base.qcow2", NEW)
    images.driver.manage_snapshot(binding)
    images.record("top2.qcow2", f"DIR//{NEW}")

    with pytest.raises(errors.Unusable, match=r"top2\.qcow2"):
        images.driver.unmanage_snapshot(binding)

    assert images.opens("top2.qcow2")
    (images.folder / "top2.qcow2").unlink()
    images.driver.unmanage_snapshot(binding)
    assert images.opens("top1.qcow2")


# What the list knows before managing would find it out.


def test_overlay_of_a_copy_of_the_file_blocks_nothing(images: ImageDirectory) -> None:
    """A copy has the data, the size and the times of the file, but another inode number."""
    images.surround()
    source, copy = images.folder / "base.qcow2", images.folder.parent / "elsewhere" / "base.qcow2"
    copy.write_bytes(source.read_bytes())
    os.utime(copy, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    images.record("top2.qcow2", str(copy))

    images.manage()

    assert images.opens("top1.qcow2")


def test_snapshot_with_a_name_too_long_to_be_restored_is_listed_as_unusable(images: ImageDirectory) -> None:
    name = "base.qcow2".ljust(238, "x")
    (images.folder / "base.qcow2").rename(images.folder / name)
    images.record("top1.qcow2", name)

    images.check_refused("237 bytes", name)


def test_snapshot_below_an_overlay_without_room_for_a_longer_name_is_listed_as_unusable(images: ImageDirectory) -> None:
    deep = images.folder.joinpath(*["d" * 200] * 4)
    deep.mkdir(parents=True)
    images.folder = deep
    images.driver = Qcow2Driver(str(deep))
    qemu.create(deep / "base.qcow2", SIZE)
    images.record("top1.qcow2", "DIR/base.qcow2")

    images.check_refused("no room")


def test_managed_name_omits_an_overlong_extension(images: ImageDirectory) -> None:
    name = "base." + "x" * 230
    (images.folder / "base.qcow2").rename(images.folder / name)
    images.record("top1.qcow2", name)
    found = images.found(name)

    managed = images.driver.managed_name(found, "snapshot-1")

    assert managed == "snapshot-1"
    images.driver.manage_snapshot(Binding(found.identity, name, managed))
    assert images.opens("top1.qcow2")


@pytest.mark.parametrize("name", ["base.qcow2", "top1.qcow2"])
def test_immutable_file_is_listed_as_unusable(images: ImageDirectory, name: str) -> None:
    require("chattr", root=True)
    command = ["chattr", "+i", str(images.folder / name)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        images.check_refused(repr(name))
    finally:
        subprocess.run(["chattr", "-i", str(images.folder / name)], check=True)
    images.manage()


def test_snapshot_below_an_unusable_volume_is_listed_as_unusable(images: ImageDirectory) -> None:
    images.record("middle.qcow2", "base.qcow2")
    (images.folder / "top1.qcow2").unlink()
    images.record("top1.qcow2", "middle.qcow2")
    with (images.folder / "top1.qcow2").open("r+b") as image:
        image.seek(72)
        image.write((1 << 1).to_bytes(8))

    images.check_refused("'top1.qcow2'")


def test_unreadable_file_hides_no_snapshot_from_the_listing(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu.qemu_img("snapshot", "-c", "daily", images.folder / "other.qcow2")
    broken = images.folder / "broken.qcow2"
    broken.write_bytes(b"anything")
    real = os.pread

    def failing(fd: int, size: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(fd), broken.stat()):
            raise OSError(5, "Input/output error")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", failing)

    assert {(each.name, each.unsafe) for each in images.driver.list_snapshots()} == {
        ("base.qcow2", Unsafe.UNUSABLE),
        ("other.qcow2/1", None),
    }
    images.check_refused("'broken.qcow2' can't be read: Input/output error")
