"""A pytest plugin: each test has an id of its own, and in a run with several processes the long files start first.

Each process runs one file after another. If a long file starts last, the other processes are idle until it ends.
pytest-xdist starts the files with the most tests first, but here the longest files have the fewest tests; so
`make test` runs with `--no-loadscope-reorder` and takes the order from here.
"""

from collections import Counter
from pathlib import Path

import pytest

# Files that take minutes, the longest first.
LONGEST = (
    "integration/test_lvm_kernel.py",
    "contract/test_drivers_managing.py",
    "contract/test_drivers_finding.py",
)
# Then the tiers in this order. The unit tests are last: their files are the shortest, so the processes end together.
TIERS = ("chaos", "integration", "contract", "functional", "fuzz", "unit")
FOLDER = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    refuse_repeated_ids(items)
    if in_process_of_xdist(config):
        items.sort(key=lambda item: rank(item.path))


def refuse_repeated_ids(items: list[pytest.Item]) -> None:
    """Refuse a run with two tests of one id: pytest-xdist would run only one of them."""
    repeated = [test_id for test_id, count in Counter(item.nodeid for item in items).items() if count > 1]
    if repeated:
        raise pytest.UsageError(f"several tests have the same id: {', '.join(repeated)}")


def in_process_of_xdist(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def rank(path: Path) -> tuple[int, int]:
    """Return the place of a file's tests in the order; files of one tier keep the order in which pytest found them."""
    file = path.relative_to(FOLDER) if path.is_relative_to(FOLDER) else path
    longest = LONGEST.index(str(file)) if str(file) in LONGEST else len(LONGEST)
    tier = TIERS.index(file.parts[0]) if file.parts[0] in TIERS else len(TIERS)
    return longest, tier
