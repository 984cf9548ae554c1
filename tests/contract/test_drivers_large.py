"""The contract of a driver, on every laboratory of this repository: `snapmanage.testing.contract.test_large`."""

from snapmanage.testing.contract.test_large import *  # noqa: F403
