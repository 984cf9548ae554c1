"""Relations between images that name each other in any way."""

from hypothesis import strategies as st

from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.format import Header, InternalSnapshot
from snapmanage.drivers.qcow2.image import Image
from tests.fuzz.hostile import ANY_TEXT, bounded, fuzz
from tests.unit.drivers.qcow2.test_chains import CREATED_AT, DIRECTORY_PATHS

NAMES = st.sampled_from(("a", "b", "c", "d")) | ANY_TEXT
RECORDED = NAMES | st.builds("{}/{}".format, st.sampled_from(("/srv/images", ".", "..", "file:", "json:{")), NAMES)
HEADERS = st.builds(
    Header,
    st.integers(0, 2**63 - 512),
    st.none() | RECORDED,
    st.sampled_from((None, "raw", "qcow2", "luks", "a\x1b[2J")),
    internal_snapshots=st.lists(
        st.builds(InternalSnapshot, ANY_TEXT, ANY_TEXT, st.integers(0, 2**32 - 1), st.just(0), st.just(1)), max_size=2
    ).map(tuple),
    data_file_name=st.none() | RECORDED,
)
IMAGES = st.builds(
    Image,
    st.tuples(NAMES),
    st.sampled_from(("1", "2", "3", "4", "5")),
    st.integers(0, 2**63 - 1),
    st.just(CREATED_AT),
    header=st.none() | HEADERS,
    malformed_reason=st.sampled_from(("", "it ends")),
    backing_unknown=st.booleans(),
)


@fuzz(st.lists(IMAGES, max_size=8), NAMES)
def test_chains_of_any_images_are_found(images: list[Image], name: str) -> None:
    with bounded((images, name)):
        found = Chains(images, DIRECTORY_PATHS)
        for snapshot in found.snapshots():
            assert snapshot.identity
            assert snapshot.unsafe or not snapshot.unsafe_reason
        for image in images:
            found.unusable_reason(image)
            found.overlays_of(image)
        found.unreadable()
        found.rename_obstacle(name, "1")
        found.name_obstacle(name)
