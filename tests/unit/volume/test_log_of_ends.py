"""The end of each operation is a line of the log, which can be understood alone."""

import logging
from typing import Any

import pytest

from snapmanage.core.records import Record, Status, changed
from snapmanage.volume import steps
from tests.examples import available_volume, snapshot

NAMES = {"backend_name": "disk1.img@snapshot-1", "original_name": "disk1.img@daily"}


def logged(log: pytest.LogCaptureFixture, record: Record, **fields: Any) -> tuple[str, str]:
    """Return the level and the text of the line about a record with other values in some of its fields."""
    log.set_level(logging.INFO)
    steps.log_ends([changed(record, **fields)])
    [line] = log.records
    return line.levelname, line.getMessage()


def test_failed_operation_is_a_warning_with_its_reference_and_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    level, text = logged(caplog, snapshot(), status=Status.ERROR, reason="there is no such file")

    assert (level, text.partition(":")[0]) == ("WARNING", "Operation failed")
    assert text.endswith(r'reference="{\"source-name\":\"daily\"}" reason="there is no such file"')


def test_managed_snapshot_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    level, text = logged(caplog, snapshot(), status=Status.AVAILABLE, **NAMES)

    assert (level, text.partition(":")[0]) == ("INFO", "Snapshot managed")
    assert text.endswith("backend_name=disk1.img@snapshot-1")


def test_unmanaged_snapshot_is_logged_with_the_name_that_it_has_again(caplog: pytest.LogCaptureFixture) -> None:
    level, text = logged(caplog, snapshot(), status=Status.DELETED, **NAMES)

    assert (level, text.partition(":")[0]) == ("INFO", "Snapshot unmanaged")
    assert "status=unmanaged" in text
    assert "deleted" not in text
    assert text.endswith("backend_name=disk1.img@daily")


def test_registered_volume_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, available_volume())[1].startswith("Volume managed: volume=")
