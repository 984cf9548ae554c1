"""`snapmanage standalone` keeps its folder from other users, and follows no link that one of them made."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from snapmanage.testing.needs import require
from tests.functional.cmd.programs import Standalone, refusal, run

NOBODY = 65534
FILES = {"lock", "snapmanage.conf", "snapmanage.db", "snapmanage.log"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def serve(folder: Path) -> "subprocess.CompletedProcess[str]":
    return run("snapmanage", "standalone", "--data-dir", folder, "--listen", "127.0.0.1:0")


def test_new_folder_and_its_files_are_for_their_owner_only(tmp_path: Path) -> None:
    made = Standalone(tmp_path / "data")
    try:
        made.start()

        assert {path.name for path in made.folder.iterdir()} > FILES
        assert {mode(path) for path in made.folder.iterdir() if path.is_file()} == {0o600}
        assert {mode(path) for path in (made.folder, made.backend)} == {0o700}
    finally:
        made.close()


def test_files_of_an_earlier_release_lose_the_rights_of_others(standalone: Standalone) -> None:
    standalone.start()
    standalone.end()
    for name in FILES:
        (standalone.folder / name).chmod(0o644)

    standalone.start()

    assert {mode(standalone.folder / name) for name in FILES} == {0o600}


@pytest.mark.parametrize("name", ["lock", "snapmanage.log", "snapmanage.db", "snapmanage.db-journal"])
def test_link_in_the_place_of_a_file_is_refused_and_its_target_is_untouched(
    tmp_path: Path, standalone: Standalone, name: str
) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (standalone.folder / name).symlink_to(target)

    ended = serve(standalone.folder)

    assert f"{standalone.folder}/{name}" in refusal(ended)
    assert target.read_text() == "precious"


def test_link_in_the_place_of_the_configuration_is_replaced(tmp_path: Path, standalone: Standalone) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (standalone.folder / "snapmanage.conf").symlink_to(target)

    standalone.start()

    assert target.read_text() == "precious"
    assert not (standalone.folder / "snapmanage.conf").is_symlink()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_folder_that_others_can_write_is_refused_with_the_remedy(standalone: Standalone, mode: int) -> None:
    standalone.folder.chmod(mode)

    assert f"run chmod 700 {standalone.folder}" in refusal(serve(standalone.folder))


def test_folder_of_another_user_is_refused(standalone: Standalone) -> None:
    require(root=True)
    os.chown(standalone.folder, NOBODY, -1)

    assert "belongs to another user" in refusal(serve(standalone.folder))


def test_folder_behind_a_link_is_refused(tmp_path: Path, standalone: Standalone) -> None:
    (tmp_path / "link").symlink_to(standalone.folder)

    assert "is a symbolic link" in refusal(serve(tmp_path / "link"))


def test_folder_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    assert f"since they can change {shared}" in refusal(serve(shared / "data"))


def test_folder_that_the_members_of_a_group_can_replace_is_refused(tmp_path: Path) -> None:
    require(root=True)
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, -1, NOBODY)
    shared.chmod(0o775)

    assert f"run chmod go-w {shared}" in refusal(serve(shared / "data"))


def test_folder_that_only_the_group_of_its_owner_can_replace_is_served(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    own.chmod(0o775)
    made = Standalone(own / "data")
    try:
        made.start()
    finally:
        made.close()


def test_folder_behind_a_link_above_it_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "mine").mkdir(mode=0o700)
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "link").symlink_to("shared/mine")

    assert f"since they can change {tmp_path}/shared" in refusal(serve(tmp_path / "link" / "data"))
