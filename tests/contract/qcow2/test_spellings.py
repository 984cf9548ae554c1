"""An overlay records a backing file in a spelling that snapmanage can't rewrite: the file keeps its name.

The listing reports the reason. QEMU's own tools decide which spellings lead to a file: a chain that they open before
the test, they open after it.
"""

import os
import subprocess

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import syscalls
from snapmanage.testing.needs import require
from tests.contract.qcow2.image_directory import NEW, SIZE, ImageDirectory, as_another_user
from tests.services.storage import qemu

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


@pytest.mark.parametrize("version", ["0.10", "1.1"])
@pytest.mark.parametrize("recorded", OPENED_BY_QEMU)
def test_backing_file_name_in_another_spelling_blocks_the_rename(
    images: ImageDirectory, recorded: str, version: str
) -> None:
    images.add_surroundings()
    if recorded == "link.qcow2":
        (images.folder / "link.qcow2").symlink_to("base.qcow2")
    if recorded == "../hard-link":
        (images.folder.parent / "hard-link").hardlink_to(images.folder / "base.qcow2")
    images.make_image("top2.qcow2", recorded, "raw" if '"raw"' in recorded else "qcow2")
    qemu.qemu_img("amend", "-f", "qcow2", "-o", f"compat={version}", images.folder / "top2.qcow2")
    assert images.is_opened_by_qemu("top2.qcow2")

    images.check_refused("'top2.qcow2'")

    assert images.is_opened_by_qemu("top2.qcow2")
    assert images.is_opened_by_qemu("top1.qcow2")


@pytest.mark.parametrize("recorded", POSSIBLE_ON_ANOTHER_HOST)
def test_backing_file_name_that_could_mean_the_file_blocks_the_rename(images: ImageDirectory, recorded: str) -> None:
    images.make_image("top2.qcow2", recorded)

    images.check_refused("'top2.qcow2'")

    assert images.is_opened_by_qemu("top1.qcow2")


@pytest.mark.parametrize("recorded", OTHER_FILES)
def test_backing_file_name_of_another_file_blocks_nothing(images: ImageDirectory, recorded: str) -> None:
    images.add_surroundings()
    images.make_image("top2.qcow2", recorded)

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")


def test_path_that_snapmanage_may_not_follow_blocks_every_rename(shared_images: ImageDirectory) -> None:
    images = shared_images
    private = images.folder.parent / "private"
    private.mkdir(mode=0o700)
    (private / "x").symlink_to("../images/base.qcow2")
    images.make_image("top2.qcow2", f"{private}/x")

    with as_another_user(images.folder, *images.folder.iterdir()):
        images.check_refused("'top2.qcow2'")
        (images.folder / "top2.qcow2").unlink()
        images.manage()


def test_file_is_managed_after_the_reported_remedy(images: ImageDirectory) -> None:
    images.make_image("top2.qcow2", "DIR//base.qcow2")
    images.check_refused("qemu-img rebase -u")

    qemu.qemu_img(
        *("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", images.folder / "top2.qcow2"),
    )
    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")
    assert images.is_opened_by_qemu("top2.qcow2")


def test_backing_file_name_ends_at_a_nul_as_in_qemu(images: ImageDirectory) -> None:
    images.make_image("top2.qcow2", "base.qcow2?junk")
    content = (images.folder / "top2.qcow2").read_bytes()
    (images.folder / "top2.qcow2").write_bytes(content.replace(b"base.qcow2?junk", b"base.qcow2\0junk"))
    assert images.is_opened_by_qemu("top2.qcow2")

    images.manage()

    assert images.is_opened_by_qemu("top2.qcow2")


def test_backing_file_name_that_is_not_utf_8_is_followed_byte_by_byte(images: ImageDirectory) -> None:
    latin = os.fsdecode(b"caf\xe9.qcow2")
    (images.folder / "other.qcow2").rename(images.folder / latin)
    images.make_image("top2.qcow2", "cafe.qcow2")
    content = (images.folder / "top2.qcow2").read_bytes()
    (images.folder / "top2.qcow2").write_bytes(content.replace(b"cafe.qcow2", b"caf\xe9.qcow2"))
    assert images.is_opened_by_qemu("top2.qcow2")

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")
    assert images.is_opened_by_qemu("top2.qcow2")


def test_path_through_another_mount_blocks_the_rename(images: ImageDirectory) -> None:
    require("mount", root=True)
    mounted = images.folder.parent / "mounted"
    mounted.mkdir()
    argv = ["mount", "--bind", str(images.folder), str(mounted)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("this system allows no mount")
    try:
        images.make_image("top2.qcow2", f"{mounted}/base.qcow2")
        images.check_refused("'top2.qcow2'")
        assert images.is_opened_by_qemu("top2.qcow2")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_name_in_another_case_blocks_the_rename_in_a_case_insensitive_directory(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few kernels support such directories, so the test looks up each path in lower case."""
    images.make_image("top2.qcow2", "BASE.qcow2")
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
    images.make_image("top2.qcow2", f"{top}/near/images/base.qcow2")

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")
    assert qemu.chain(images.folder / "top2.qcow2")[0]["full-backing-filename"] == f"{top}/near/images/base.qcow2"


def test_overlay_of_a_copy_of_the_file_blocks_nothing(images: ImageDirectory) -> None:
    """A copy has the data, the size and the times of the file, but another inode number."""
    images.add_surroundings()
    source, copy = images.folder / "base.qcow2", images.folder.parent / "elsewhere" / "base.qcow2"
    copy.write_bytes(source.read_bytes())
    os.utime(copy, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    images.make_image("top2.qcow2", str(copy))

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")


def test_snapshot_is_not_unmanaged_while_its_managed_name_is_recorded_in_another_spelling(
    images: ImageDirectory,
) -> None:
    binding = Binding(images.find().identity, "base.qcow2", NEW)
    images.driver.manage_snapshot(binding)
    images.make_image("top2.qcow2", f"DIR//{NEW}")

    with pytest.raises(errors.Unusable, match=r"top2\.qcow2"):
        images.driver.unmanage_snapshot(binding)

    assert images.is_opened_by_qemu("top2.qcow2")
    (images.folder / "top2.qcow2").unlink()
    images.driver.unmanage_snapshot(binding)
    assert images.is_opened_by_qemu("top1.qcow2")
