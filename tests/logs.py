"""What was logged while a test ran, without what others left behind."""

import logging

import pytest

# Connections of oslo.messaging call their broker from threads of their own, long after the test that opened them.
BUS = ("amqp", "kombu", "oslo.messaging", "oslo_messaging")


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """Return the messages from this level up, of all loggers but the bus's; for tests that use no bus."""
    return [each.getMessage() for each in caplog.records if each.levelno >= level and not each.name.startswith(BUS)]
