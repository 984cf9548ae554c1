"""A pytest plugin: the tiers of tests, and a list of skipped tests.

A test belongs to the tier of its folder, and `-m tier` selects it. A skipped test proves nothing: the report lists it
in red, and in CI (`CI=true`) it fails the run.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from snapmanage.testing.selection import MARKS

TIERS = {
    "unit": "decisions and small parts, nothing outside the process",
    "fuzz": "hostile input at every reader; `make fuzz` runs it for longer",
    "contract": "every driver on its real backend",
    "functional": "snapmanage in the test's process, on SQLite, MariaDB and PostgreSQL",
    "integration": "real brokers, databases and backends",
    "chaos": "processes and services that are killed, cut off and frozen",
}
FOLDER = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    for tier, meaning in TIERS.items():
        config.addinivalue_line("markers", f"{tier}: {meaning} (given by the folder)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for tier in TIERS.keys() & {parent.name for parent in item.path.parents if parent.parent == FOLDER}:
            item.add_marker(tier)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and in_ci() and skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = skips(config)
    if not skipped:
        return
    title = "SKIPPED, WHICH FAILS A RUN IN CI" if in_ci() else "NOT RUN ON THIS MACHINE"
    terminalreporter.section(title, sep="!", red=True, bold=True)
    if in_ci():
        terminalreporter.line("\n".join(report.nodeid for report in skipped))
    for reason, count in Counter(map(reason_of, skipped)).most_common():
        terminalreporter.line(f"{count:5} skipped: {reason}", red=True)


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


def skips(config: pytest.Config) -> list[pytest.TestReport | pytest.CollectReport]:
    """Return the reports of skipped tests and modules."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.stats.get("skipped", []) if reporter else []


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
