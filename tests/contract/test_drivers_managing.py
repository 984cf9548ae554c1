"""The contract of a driver, on every laboratory of this repository: `snapmanage.testing.contract.test_managing`."""

from snapmanage.testing.contract.test_managing import *  # noqa: F403
