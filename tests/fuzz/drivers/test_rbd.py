"""Objects of RADOS that snapmanage decodes itself."""

import struct
from typing import Any

from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.drivers.rbd import raw
from tests.fuzz.hostile import bounded, damaged, fuzz
from tests.unit.drivers.rbd.objects import DIRECTORY, PAGES, Image, Pool, pairs

CONTEXT = struct.pack("<QI2Q", 9, 2, 9, 8)


@fuzz(damaged(DIRECTORY), damaged(PAGES[0]))
def test_directory_is_read_or_refused(directory: bytes, page: bytes) -> None:
    with bounded((directory, page), errors.BackendError):
        for name, image_id in raw.read_directory(Pool({raw.DIRECTORY: directory}, {"dir_list": [page, pairs()]})):
            assert isinstance(raw.escape(name), str)
            assert isinstance(image_id, str)


@fuzz(damaged(CONTEXT), damaged(struct.pack("<BQ", 0, 512)), st.binary(max_size=20))
def test_snapshots_are_read_or_refused(context: bytes, size: bytes, name: bytes) -> None:
    pool = Pool({}, {"get_snapcontext": [context], "get_size": [size]})

    with bounded((context, size, name), errors.BackendError):
        assert all(each["size"] >= 0 for each in raw.read_snapshots(pool, Image(name), (KeyError,)))


@fuzz(damaged(struct.pack("<I", 2) + b"1f"), damaged(struct.pack("<QQ", 1, 1)))
def test_id_and_features_are_read_or_refused(image_id: bytes, features: bytes) -> None:
    pool: Any = Pool({"rbd_id.disk": image_id}, {"get_features": [features]})

    with bounded(image_id, errors.BackendError):
        assert isinstance(raw.read_image_id(pool, "disk"), str)
    with bounded(features, errors.BackendError):
        assert raw.read_features(pool, "1f") >= 0
