"""The contract of a driver, on every laboratory of this repository: `snapmanage.testing.contract.test_batches`."""

from snapmanage.testing.contract.test_batches import *  # noqa: F403
