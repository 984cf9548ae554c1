"""The files of deploy/monitoring name metrics and runbooks that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from snapmanage.cmd.wiring import gauges
from snapmanage.core.maintenance.health import Facts
from tests.examples import NOW

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOKS = ROOT / "docs" / "runbooks"
REFERENCE = ROOT / "docs" / "reference"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
HEADINGS = ["## Meaning", "## Impact", "## Diagnose", "## Remedy"]
# The metrics of the processes, until a page of the reference lists them.
OF_PROCESSES = {
    "snapmanage_build_info",
    "snapmanage_bus_reconnects_total",
    "snapmanage_database_retries_total",
    "snapmanage_driver_call_duration_seconds",
    "snapmanage_driver_calls_hung",
    "snapmanage_http_request_duration_seconds",
    "snapmanage_http_requests_total",
    "snapmanage_messages_received_total",
    "snapmanage_operation_attempts",
    "snapmanage_operation_duration_seconds",
    "snapmanage_operation_queue_seconds",
    "snapmanage_operations_total",
    "snapmanage_relay_confirm_seconds",
    "snapmanage_relay_sent_total",
    "snapmanage_scan_duration_seconds",
    "snapmanage_takeovers_total",
}
OF_PAGE = {"snapmanage_exporter_database_up", "snapmanage_exporter_read_seconds"}
_METRIC = re.compile(r"\bsnapmanage_[a-z_]+")
_PART = re.compile(r"_(bucket|count|sum)$")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def expressions(dashboard: Path) -> Iterator[str]:
    """Yield the expressions of a dashboard."""
    for panel in json.loads(dashboard.read_text())["panels"]:
        assert panel["targets"], panel["title"]
        yield from (target["expr"] for target in panel["targets"])


def exported() -> set[str]:
    """Return the gauges of the exporter."""
    families = gauges.of_facts(Facts(NOW, NOW - NOW), [])
    return {family.name for family in families} | OF_PAGE


def documented() -> set[str]:
    """Return the metrics of the page that lists them, and of the processes."""
    lines = (REFERENCE / "exporter.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `snapmanage_")]
    return {name for row in rows for name in _METRIC.findall(row.split("|")[1])} | OF_PROCESSES


def used(expression: str) -> set[str]:
    known = documented()
    return {name if name in known else _PART.sub("", name) for name in _METRIC.findall(expression)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_alert_names_its_severity_and_its_runbook(rule: dict[str, Any]) -> None:
    page = RUNBOOKS / Path(rule["annotations"]["runbook_url"]).with_suffix(".md").name

    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert f"\nAlert: `{rule['alert']}`\n" in page.read_text()
    assert f"| `{rule['alert']}` | [" in (RUNBOOKS / "index.md").read_text()


def test_every_runbook_belongs_to_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"index"}

    assert pages == {Path(rule["annotations"]["runbook_url"]).stem for rule in ALERTS}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*-*.md")), ids=lambda page: page.stem)
def test_runbook_leads_from_the_meaning_to_the_remedy(page: Path) -> None:
    text = page.read_text()

    assert [line for line in text.splitlines() if line.startswith("## ")] == HEADINGS
    assert used(text) <= documented()


def test_rules_use_only_metrics_that_exist() -> None:
    assert {name for rule in rules() for name in used(rule["expr"])} <= documented()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_uses_only_metrics_that_exist(dashboard: Path) -> None:
    assert {name for expression in expressions(dashboard) for name in used(expression)} <= documented()


def test_every_gauge_of_the_exporter_is_documented_and_shown() -> None:
    shown = {name for path in DASHBOARDS for expression in expressions(path) for name in used(expression)}

    assert exported() <= documented()
    assert exported() <= shown


def test_every_recorded_series_is_used_by_an_alert_or_a_dashboard() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    texts = [rule["expr"] for rule in ALERTS] + [each for path in DASHBOARDS for each in expressions(path)]

    assert recorded == {name for text in texts for name in re.findall(r"snapmanage:[a-z_]+:[a-z0-9_]+", text)}


def test_how_to_page_starts_the_pages_that_the_sample_scrapes() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    jobs = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"]
    scraped = {target for job in jobs for config in job["static_configs"] for target in config["targets"]}

    assert set(re.findall(r"--metrics-listen ([0-9.:]+)", page)) == scraped
