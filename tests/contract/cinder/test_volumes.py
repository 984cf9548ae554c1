"""Lists of volumes by a vendor driver."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB, refuse_unsafe
from snapmanage.core.reference import Reference
from tests.contract.cinder.array import Array


def test_volume_that_the_vendor_driver_would_not_manage_is_registered_and_the_list_shows_its_reason(
    array: Array,
) -> None:
    array.write_snapshots({}, volumes=["attached-disk", "disk-1"])

    attached, plain = array.driver.list_volumes()

    assert (attached.name, attached.unsafe, attached.size_bytes) == ("attached-disk", None, 2 * GIB)
    assert attached.extra == {"port": "7", "vendor_reason_not_safe": "volume in use"}
    assert (plain.name, plain.unsafe, plain.extra) == ("disk-1", None, {})
    for volume in (attached, plain):
        assert array.driver.find_volume(Reference.named(volume.name)) == volume
        refuse_unsafe(volume)


def test_list_of_volumes_of_an_unreachable_array_is_an_error_and_that_of_an_empty_one_is_not(array: Array) -> None:
    array.write_snapshots({}, volumes=[])
    empty = array.driver.list_volumes()
    array.file.unlink()

    assert empty == []
    with pytest.raises(errors.BackendUnavailable):
        array.driver.list_volumes()
