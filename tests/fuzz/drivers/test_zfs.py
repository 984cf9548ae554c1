"""Reports of ZFS."""

from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.drivers.zfs import report
from snapmanage.drivers.zfs.commands import PROPERTIES
from tests.fuzz.hostile import ANY_TEXT, NUMBERS, bounded, damaged, fuzz
from tests.unit.drivers.zfs.test_report import reported

REPORT = reported("tank/v", type="volume", volsize="1", userrefs="-") + reported("tank/v@a", volsize="1")
VALUES = ANY_TEXT | st.sampled_from(NUMBERS).map(str) | st.sampled_from(("-", "on", "off", "snapshot", "volume", "-5"))


@fuzz(st.dictionaries(st.sampled_from(PROPERTIES), VALUES, max_size=4), ANY_TEXT)
def test_object_with_any_properties_is_read_or_its_report_refused(properties: dict[str, str], suffix: str) -> None:
    read(reported("tank/v@a", **properties) + reported(f"tank/v@{suffix}"))


@fuzz(damaged(REPORT.encode()))
def test_text_is_a_report_or_refused(text: bytes) -> None:
    read(text.decode(errors="surrogateescape"))


def read(text: str) -> None:
    with bounded(text, errors.BackendError):
        found = report.read(text)
        for each in found.values():
            snapshot = each.snapshot(None, "", 45)
            assert snapshot.name == each.name
            assert snapshot.identity
            assert snapshot.size_bytes >= 0
