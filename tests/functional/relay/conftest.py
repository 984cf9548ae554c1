"""A fake bus for the relay."""

import pytest

from tests.functional.relay.helpers import FakeBus


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()
