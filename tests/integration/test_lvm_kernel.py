"""LVM on a real kernel, inside a guest: the contract, and tests that need device-mapper.

One guest runs the tests of every module in `MODULES`. Here each module is one test, which fails with the guest's
report. To add a module, add a line there, with the least number of its tests that have to pass.
"""

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

from snapmanage.testing.needs import require
from tests.services.guests import uml

MODULES = {
    "tests/contract/test_drivers_batches.py": 7,
    "tests/contract/test_drivers_finding.py": 3,
    "tests/contract/test_drivers_managing.py": 16,
    "tests/contract/test_drivers_unmanaging.py": 4,
    "tests/integration/guest_lvm.py": 12,
}
PYTEST = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-m", "not no_kernel"]
# Imports are slow in the guest, and its tests use no plugin but their own.
ENVIRONMENT = {"SNAPMANAGE_IN_GUEST": "true", "CI": "true", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

# A guest that takes longer hangs. On two idle cores it takes one minute, on a busy machine five.
HANGS_AFTER_SECONDS = 1800
REPORT = """
<testsuites><testsuite name="pytest">
    <testcase classname="tests.a" name="test_one"/>
    <testcase classname="tests.a" name="test_two"><failure/></testcase>
    <testcase classname="tests.b" name="test_one"><error/></testcase>
    <testcase classname="tests.b" name="test_two"><skipped/></testcase>
</testsuite></testsuites>
"""


@dataclass(frozen=True)
class Results:
    """The result of the guest, and the outcomes of its tests by module from pytest's report."""

    outcome: uml.Outcome
    outcomes: dict[str, list[str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    require("linux.uml", "lvs", "thin_check")
    shared = tmp_path_factory.mktemp("guest")
    report = shared / "report.xml"
    outcome = uml.run([*PYTEST, f"--junitxml={report}", *MODULES], shared, ENVIRONMENT, HANGS_AFTER_SECONDS)
    return Results(outcome, outcomes_in(report) if report.exists() else {})


@pytest.mark.parametrize(("module", "at_least"), MODULES.items(), ids=list(MODULES))
def test_lvm_passes_the_contract_on_a_kernel_with_device_mapper(module: str, at_least: int, results: Results) -> None:
    outcomes = results.outcomes.get(module, [])

    # A failed test belongs to one module. Any other failure of pytest belongs to every module.
    ended_well = results.outcome.exit_code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if not ended_well or set(outcomes) != {"passed"} or len(outcomes) < at_least:
        pytest.fail(str(results.outcome), pytrace=False)


def test_outcomes_are_read_from_the_report_of_the_guest(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)

    assert outcomes_in(report) == {"tests/a.py": ["passed", "failure"], "tests/b.py": ["error", "skipped"]}


def outcomes_in(report: Path) -> dict[str, list[str]]:
    outcomes: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        module = "/".join(case.attrib["classname"].split(".")) + ".py"
        outcomes.setdefault(module, []).append(outcome)
    return outcomes
