"""A backing file gets another name, its data stay the same, and its overlays record the new name."""

import stat

import pytest

from tests.contract.qcow2.chain import NEW, OLD, TOPS, Chain
from tests.services.storage import qemu


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
