"""A file that root obeys belongs to root, and so does every folder and symbolic link on the way to it."""

import os
from pathlib import Path

import pytest

from snapmanage.drivers.system import trusted
from snapmanage.testing.needs import require

STRANGER = 65534


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Make a file of root in a folder of root, and beside it a folder of another user."""
    require(root=True)
    (tmp_path / "opt").mkdir(mode=0o755)
    (tmp_path / "foreign").mkdir()
    os.chown(tmp_path / "foreign", STRANGER, STRANGER)
    file = tmp_path / "opt" / "code.py"
    file.touch(0o644)
    return file


def test_file_of_root_behind_links_of_root_is_trusted(code: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("opt/../opt")
    (tmp_path / "second").symlink_to(tmp_path / "link")

    assert trusted.is_root_only_behind_links(code)
    assert trusted.is_root_only_behind_links(tmp_path / "second" / "code.py")
    assert not trusted.is_root_only(tmp_path / "second" / "code.py")


@pytest.mark.parametrize("owner", [0, STRANGER])
def test_link_in_a_folder_of_another_user_is_not_trusted(code: Path, tmp_path: Path, owner: int) -> None:
    link = tmp_path / "foreign" / "link"
    link.symlink_to(code.parent)
    os.chown(link, owner, owner, follow_symlinks=False)
    (tmp_path / "first").symlink_to("foreign/link/code.py")

    assert not trusted.is_root_only_behind_links(link / "code.py")
    assert not trusted.is_root_only_behind_links(tmp_path / "first")


def test_link_of_another_user_is_not_trusted_in_any_folder(code: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(code)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)

    assert not trusted.is_root_only_behind_links(link)


def test_file_that_others_can_change_is_not_trusted(code: Path) -> None:
    code.chmod(0o664)

    assert not trusted.is_root_only_behind_links(code)


def test_path_that_depends_on_the_current_folder_is_not_trusted(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(code.parent)

    assert not trusted.is_root_only_behind_links(Path(code.name))


def test_links_in_a_circle_lead_nowhere(code: Path) -> None:
    circle = code.with_name("circle")
    circle.symlink_to("circle")

    assert not trusted.is_root_only_behind_links(circle)
