"""Reports of LVM."""

import json

from snapmanage import errors
from snapmanage.drivers.lvm import messages, report
from tests.fuzz.hostile import ANY_TEXT, bounded, damaged, fuzz, reshaped
from tests.unit.drivers.lvm.test_report import ORPHAN, THICK_SNAPSHOT, THIN_SNAPSHOT

REPORT = {"report": [{"lv": [THIN_SNAPSHOT, THICK_SNAPSHOT, ORPHAN]}], "log": []}


@fuzz(reshaped(REPORT))
def test_report_is_read_or_refused(value: object) -> None:
    read(json.dumps(value))


@fuzz(damaged(json.dumps(REPORT).encode()) | ANY_TEXT.map(lambda text: text.encode(errors="surrogatepass")))
def test_text_is_a_report_or_refused(text: bytes) -> None:
    read(text.decode(errors="surrogateescape"))


@fuzz(ANY_TEXT)
def test_warnings_of_any_text_are_read(text: str) -> None:
    with bounded(text):
        messages.group_refusal(f"{text}\n  WARNING: {text}\n{text}")


def read(text: str) -> None:
    with bounded(text, errors.BackendError):
        for found in report.read(text, "group"):
            assert isinstance(found.name, str)
            assert isinstance(found.identity, str)
            assert found.snapshot().size_bytes == found.volume().size_bytes >= 0
            assert isinstance(found.is_volume, bool)
