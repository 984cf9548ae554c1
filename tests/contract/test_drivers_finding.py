"""The contract of a driver, on every laboratory of this repository: `snapmanage.testing.contract.test_finding`."""

from snapmanage.testing.contract.test_finding import *  # noqa: F403
