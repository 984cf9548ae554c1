"""LVM on a real kernel: the contract, and what else only device-mapper can show, inside a guest.

The guest runs the tests of a whole module; here it is one test, which fails with the guest's report.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.needs import require
from tests.services import uml

MODULES = {"tests/contract/test_drivers.py": 72, "tests/integration/guest_lvm.py": 14}


@pytest.mark.parametrize(("module", "at_least"), MODULES.items(), ids=["contract", "kernel"])
def test_lvm_keeps_its_promises_on_a_kernel_with_device_mapper(module: str, at_least: int, tmp_path: Path) -> None:
    require("linux.uml", "lvs", "thin_check")
    report = tmp_path / "report.xml"
    pytest_itself = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]

    outcome = uml.run(
        [*pytest_itself, f"--junitxml={report}", module],
        shared=tmp_path,
        environment={"SNAPMANAGE_IN_GUEST": "true", "CI": "true"},
    )

    if outcome.exit_code != 0 or passed(report) < at_least:
        pytest.fail(str(outcome), pytrace=False)


def passed(report: Path) -> int:
    """How many tests passed, by pytest's own report."""
    [suite] = ElementTree.parse(report).getroot().iter("testsuite")
    left_out = sum(int(suite.attrib[outcome]) for outcome in ("failures", "errors", "skipped"))
    return int(suite.attrib["tests"]) - left_out
