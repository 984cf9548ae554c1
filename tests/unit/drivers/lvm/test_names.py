"""LVM's rules for names."""

import pytest

from snapmanage.drivers.lvm import names


@pytest.mark.parametrize("name", ["a", "_", "+", ".a", "A.b+c-d_9", "x" * 127, "pool_tdata", "snapshot1"])
def test_valid_name_of_lvm_is_accepted(name: str) -> None:
    assert names.is_valid_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a b", "a/b", "a\n", "é", "٣", "x" * 128, 'a"b'])
def test_invalid_name_of_lvm_is_refused(name: str) -> None:
    assert not names.is_valid_name(name)
    assert names.refusal("group", name)


@pytest.mark.parametrize("name", ["snapshot", "snapshot-1", "pvmove0", "a_tdata", "a_tmeta_b", "a_vorigin"])
def test_reserved_name_is_refused(name: str) -> None:
    assert "reserves" in (names.refusal("group", name) or "")


@pytest.mark.parametrize("name", ["_snapshot-1", "a-snapshot", "_pvmove0", "tdata"])
def test_name_that_only_resembles_a_reserved_one_is_accepted(name: str) -> None:
    assert names.refusal("group", name) is None


def test_length_of_a_name_counts_every_hyphen_twice_as_device_mapper_does() -> None:
    assert names.refusal("g-g", "x" * 117) is None
    assert names.refusal("g-g", "x" * 118)
    assert names.refusal("g-g", "x-" * 39) is None
    assert names.refusal("g-g", "x-" * 40)
