"""The contract of a driver, on every laboratory of this repository: `snapmanage.testing.contract.test_volumes`."""

from snapmanage.testing.contract.test_volumes import *  # noqa: F403
