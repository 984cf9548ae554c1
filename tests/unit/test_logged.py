"""What tests see of the log, whatever the tests before them left running."""

import logging

import pytest

from tests.logs import logged


def test_warnings_of_every_logger_are_seen_but_of_the_bus(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("snapmanage.api", "oslo.messaging._drivers.impl_rabbit", "sqlalchemy.pool"):
        logging.getLogger(name).error("from %s", name)
    logging.getLogger("snapmanage.api").info("No warning.")

    assert logged(caplog) == ["from snapmanage.api", "from sqlalchemy.pool"]
