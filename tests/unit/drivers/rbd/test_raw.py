"""Objects of a pool whose bytes are not those that librbd writes."""

import struct

import pytest

from snapmanage.drivers.rbd import raw
from snapmanage.errors import BackendError
from tests.unit.drivers.rbd.objects import DIRECTORY, PAGES, Image, Pool, pairs


def test_images_of_both_formats_are_read() -> None:
    pool = Pool({raw.DIRECTORY: DIRECTORY}, {"dir_list": [*PAGES]})

    assert list(raw.read_directory(pool)) == [(b"old.rbd", ""), (b"disk", "1f"), (b"caf\xe9", "2f")]


@pytest.mark.parametrize("directory", [b"\1", DIRECTORY[:6], struct.pack("<II", 0, 2**32 - 1)])
def test_malformed_directory_is_an_error_that_names_it(directory: bytes) -> None:
    with pytest.raises(BackendError, match="rbd_directory"):
        list(raw.read_directory(Pool({raw.DIRECTORY: directory}, {})))


def test_id_that_is_not_text_is_an_error_that_names_the_directory() -> None:
    with pytest.raises(BackendError, match="rbd_directory"):
        list(raw.read_directory(Pool({}, {"dir_list": [pairs(b"disk", b"\xff")]})))


@pytest.mark.parametrize("answers", [{"get_snapcontext": b"\1"}, {"get_snapcontext": struct.pack("<QI", 1, 2**32 - 1)}])
def test_malformed_header_is_an_error_that_names_it(answers: dict[str, bytes]) -> None:
    pool = Pool({}, {method: [answer] for method, answer in answers.items()})

    with pytest.raises(BackendError, match=r"rbd_header\.1f"):
        list(raw.read_snapshots(pool, Image(b"daily"), ()))
    with pytest.raises(BackendError, match=r"rbd_header\.1f"):
        raw.read_features(pool, "1f")
    with pytest.raises(BackendError, match=r"rbd_id\.disk"):
        raw.read_image_id(pool, "disk")
