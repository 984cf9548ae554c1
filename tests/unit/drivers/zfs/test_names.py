"""ZFS's rules for names; a name that breaks them never becomes an argument of a command."""

import pytest

from snapmanage.drivers.zfs import commands, names
from snapmanage.errors import InvalidReference


@pytest.mark.parametrize("name", ["tank", "t", "tank/a-b_c.d:e f", "tank/ x ", "tank/1/2", "x" * 255])
def test_valid_name_of_a_dataset_is_recognized(name: str) -> None:
    assert names.is_dataset_name(name)
    assert not names.is_snapshot_name(name)


@pytest.mark.parametrize("name", ["tank@a", "tank/v@-x", "tank/v@a b:c.d_e", f"tank@{'x' * 250}"])
def test_valid_name_of_a_snapshot_is_recognized(name: str) -> None:
    assert names.is_snapshot_name(name)
    assert not names.is_dataset_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "-r", "1tank", "/tank", "tank/", "tank//v", "@a", "tank@", "tank@a/b", "tank@a@b", "tank#a", "tank@a#b"),
        *("tank@a+b", "tank@a%b", "tank@é", "tank@a\tb", "tank@a\n", "tank\n@a", "tank@\0", "\ud800@a"),
        *("x" * 256, f"tank@{'x' * 251}"),
    ],
)
def test_invalid_name_of_zfs_reaches_no_command(name: str) -> None:
    assert not names.is_dataset_name(name)
    assert not names.is_snapshot_name(name)
    with pytest.raises(InvalidReference):
        commands.get([name], False, 1)
    with pytest.raises(InvalidReference):
        commands.rename("tank@a", name, 1)
    with pytest.raises(InvalidReference):
        commands.rename(name, "tank@a", 1)


def test_report_without_a_name_is_refused_since_it_would_have_every_pool() -> None:
    with pytest.raises(InvalidReference, match="no dataset is named"):
        commands.get([], True, 1)


def test_only_snapshots_are_renamed_and_only_within_their_dataset() -> None:
    with pytest.raises(InvalidReference, match="a snapshot named"):
        commands.rename("tank/volume", "tank/other", 1)
    with pytest.raises(InvalidReference, match="stays in its dataset"):
        commands.rename("tank/volume@a", "tank/other@a", 1)


def test_object_is_within_a_dataset_if_its_path_begins_with_the_whole_name() -> None:
    for name in ("tank/v", "tank/v@a", "tank/v/w", "tank/v/w@a"):
        assert names.is_within(name, "tank/v")
    for name in ("tank", "tank@a", "tank/v2", "tank/v2@a", "other/tank/v"):
        assert not names.is_within(name, "tank/v")


def test_containers_of_an_object_are_its_dataset_and_those_above() -> None:
    assert names.containers("tank/a/b@daily") == ("tank", "tank/a", "tank/a/b")
    assert names.containers("tank") == ("tank",)
