"""The contract of a driver, on every laboratory of this repository: `snapmanage.testing.contract.test_unmanaging`."""

from snapmanage.testing.contract.test_unmanaging import *  # noqa: F403
