"""A folder keeps the names of its files if no other user may change it."""

import os
import stat
from pathlib import Path

import pytest

from snapmanage.core.values.rights import keeps_names, way_to

ROOT, USER, STRANGER = 0, 1000, 1001


def folder(mode: int, owner: int = ROOT, kind: int = stat.S_IFDIR) -> os.stat_result:
    return os.stat_result((kind | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777, 0o1775])
def test_folder_that_others_cannot_change_keeps_names(mode: int) -> None:
    assert keeps_names(folder(mode), {ROOT})


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_folder_that_others_can_change_does_not(mode: int) -> None:
    assert not keeps_names(folder(mode), {ROOT})


def test_group_counts_as_others_unless_it_is_trusted() -> None:
    assert keeps_names(folder(0o775), {ROOT}, trusts_group=True)
    assert not keeps_names(folder(0o777), {ROOT}, trusts_group=True)


def test_owner_must_be_one_of_the_trusted_users() -> None:
    assert keeps_names(folder(0o700, USER), {ROOT, USER})
    assert not keeps_names(folder(0o1777, STRANGER), {ROOT, USER})


def test_symbolic_link_is_as_safe_as_its_owner() -> None:
    assert keeps_names(folder(0o777, USER, stat.S_IFLNK), {ROOT, USER})
    assert not keeps_names(folder(0o777, STRANGER, stat.S_IFLNK), {ROOT, USER})


def test_way_to_a_file_has_each_folder_and_link_that_the_system_passes() -> None:
    links = {Path("/a/link"): Path("../b/second"), Path("/b/second"): Path("/c")}

    way = list(map(str, way_to(Path("/a/link/file"), links.get)))

    assert way == ["/", "/a", "/a/link", "/a", "/", "/b", "/b/second", "/", "/c"]


def test_way_of_links_in_a_circle_ends() -> None:
    with pytest.raises(OSError, match="symbolic links"):
        list(way_to(Path("/circle"), {Path("/circle"): Path("circle")}.get))
