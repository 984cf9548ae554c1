"""The rules by which a snapshot may be managed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.backend import GIB, Unsafe, refuse_foreign, refuse_unsafe, size_gb
from tests import examples


@pytest.mark.parametrize(
    ("size_bytes", "gigabytes"), [(0, 0), (1, 1), (GIB - 1, 1), (GIB, 1), (GIB + 1, 2), (5 * GIB, 5)]
)
def test_size_is_rounded_up(size_bytes: int, gigabytes: int) -> None:
    assert size_gb(size_bytes) == gigabytes


@given(st.integers(min_value=0, max_value=2**80))
def test_size_in_gigabytes_is_the_smallest_that_holds_every_byte(size_bytes: int) -> None:
    assert size_gb(size_bytes) * GIB >= size_bytes
    assert (size_gb(size_bytes) - 1) * GIB < max(size_bytes, 1)


def test_size_of_a_snapshot_is_rounded_up_from_its_bytes() -> None:
    assert examples.found(size_bytes=GIB + 1).size_gb == 2


@pytest.mark.parametrize(("unsafe", "refusal"), [(Unsafe.IN_USE, errors.InUse), (Unsafe.UNUSABLE, errors.Unusable)])
def test_unsafe_snapshot_is_refused_with_its_name_and_the_reason(
    unsafe: Unsafe, refusal: type[errors.SnapmanageError]
) -> None:
    with pytest.raises(refusal, match=r"'daily' .*: mounted on /mnt"):
        refuse_unsafe(examples.found(unsafe=unsafe, unsafe_reason="mounted on /mnt"))


def test_safe_snapshot_is_not_refused() -> None:
    refuse_unsafe(examples.found())


@pytest.mark.parametrize(
    ("parent", "parent_identity", "volume_name", "volume_identity"),
    [
        ("disk", None, "disk", None),
        ("disk", "1", "disk", None),
        ("disk", None, "disk", "1"),
        ("disk", "1", "renamed", "1"),
        (None, None, "disk", "1"),
        (None, "1", "disk", "2"),
    ],
)
def test_snapshot_of_the_volume_is_not_refused(
    parent: str | None, parent_identity: str | None, volume_name: str, volume_identity: str | None
) -> None:
    snapshot = examples.found(parent=parent, parent_identity=parent_identity)

    refuse_foreign(snapshot, volume_name, volume_identity)


@pytest.mark.parametrize(
    ("parent_identity", "volume_name", "volume_identity"),
    [(None, "other", None), ("1", "other", None), (None, "other", "1"), ("1", "disk", "2"), ("1", "other", "2")],
)
def test_snapshot_of_another_volume_is_refused(
    parent_identity: str | None, volume_name: str, volume_identity: str | None
) -> None:
    snapshot = examples.found(parent="disk", parent_identity=parent_identity)

    with pytest.raises(errors.WrongVolume, match="'daily' is a snapshot of 'disk'"):
        refuse_foreign(snapshot, volume_name, volume_identity)
