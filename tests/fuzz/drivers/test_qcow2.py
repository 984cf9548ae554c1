"""Image files, and the file names that they record."""

import json

from hypothesis import strategies as st

from snapmanage.drivers.qcow2 import filenames, format, other_formats
from snapmanage.drivers.qcow2.format import Unreadable, read_header
from tests.fuzz.hostile import ANY_TEXT, JSON, bounded, damaged, fuzz
from tests.unit.drivers.qcow2.images import Entry, Qcow2

IMAGES = (
    Qcow2(backing=b"base.img", backing_format=b"raw", entries=[Entry(), Entry(b"2", disk_bytes=512)]).packed(),
    Qcow2(version=2, backing=b'json:{"file.filename": "a"}', entries=[Entry(extra_bytes=16, disk_bytes=1)]).packed(),
    Qcow2(cluster_bits=9, backing=b"\xff\xfe", backing_format=b"\xff").packed()[:512],
)
OTHERS = (
    b"QFI\xfb\0\0\0\1" + (64).to_bytes(8, "big") + (4).to_bytes(4, "big") + bytes(44) + b"base",
    b"QED\0" + bytes(12) + (1).to_bytes(8, "little") + bytes(32) + (64).to_bytes(4, "little") * 2 + b"base" * 16,
    b'# Disk DescriptorFile\ncreateType="x"\nparentFileNameHint="base.vmdk"\nRW 1 SPARSE "extent.vmdk"\n',
    b"KDMV" + bytes(508) + b'parentFileNameHint = "base.vmdk"\n',
)
PREFIXES = st.sampled_from(
    (
        "",
        "json:",
        "file:",
        "blkdebug:x:",
        "nbd:",
        "https://h/",
        "ssh://h/",
        "nfs:",
        "fat:rw:",
        "json:{'file':'",
        "/proc/",
    )
)
KEYS = ("driver", "file", "file.filename", "backing", "filename", "a.b", "0", "file.driver", "server.path")


def nested(name: str, depth: int) -> str:
    """Return a name that repeats `json:` at each level of quotes."""
    for _ in range(depth):
        name = 'json:{"file.filename": "' + name.replace("\\", "\\\\").replace('"', '\\"') + '"}'
    return name


@fuzz(damaged(*IMAGES), examples=150)
def test_image_ends_in_a_header_or_in_unreadable(data: bytes) -> None:
    sizes: list[int] = []

    def read(size: int, offset: int) -> bytes:
        assert size >= 0
        assert 0 <= offset < 2**63
        sizes.append(size)
        return data[offset : offset + size]

    with bounded(data, Unreadable):
        header = read_header(read)
        assert all(entry.created_at and entry.mark.isprintable() for entry in header.internal_snapshots)
    assert max(sizes) <= format.MAX_TABLE_BYTES


@fuzz(damaged(*OTHERS, *IMAGES))
def test_image_of_another_format_has_names_or_none(data: bytes) -> None:
    with bounded(data):
        for name in other_formats.file_names(lambda size, offset: data[offset : offset + size]) or ():
            filenames.possible_files_from_cwd(name)


@fuzz(
    st.builds("{}{}".format, PREFIXES, ANY_TEXT)
    | st.builds(nested, ANY_TEXT, st.integers(0, 5))
    | st.dictionaries(st.sampled_from(KEYS), JSON | ANY_TEXT).map(lambda value: f"json:{json.dumps(value)}"),
    examples=100,
)
def test_every_recorded_name_means_some_files(name: str) -> None:
    with bounded(name):
        filenames.possible_files(name[: format.MAX_BACKING_NAME_BYTES])
        filenames.possible_files_from_cwd(name[: format.MAX_BACKING_NAME_BYTES])
