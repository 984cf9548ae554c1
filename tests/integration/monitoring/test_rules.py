"""promtool accepts the files of deploy/monitoring, and the rules pass their tests."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from snapmanage.testing import needs
from snapmanage.testing.services.process import installed
from tests.services.prometheus import MONITORING, RULES, SAMPLE, shortened


@pytest.fixture(autouse=True)
def promtool() -> None:
    needs.require("promtool")


def run_promtool(*arguments: str | Path) -> str:
    """Return the output of promtool; fail unless it succeeds."""
    ended = subprocess.run([installed("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_rules_and_sample_are_valid() -> None:
    assert "SUCCESS" in run_promtool("check", "rules", RULES)
    assert "SUCCESS" in run_promtool("check", "config", SAMPLE)


def test_rules_pass_their_tests() -> None:
    assert "SUCCESS" in run_promtool("test", "rules", MONITORING / "rules_test.yaml")


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    groups = yaml.safe_load(RULES.read_text())["groups"]

    assert fired == {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("dashboard", sorted((MONITORING / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_every_expression_of_a_dashboard_is_valid(dashboard: Path, tmp_path: Path) -> None:
    panels = json.loads(dashboard.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"dashboard:{number}", "expr": each} for number, each in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"SUCCESS: {len(expressions)} rules found" in run_promtool("check", "rules", file)


def test_shortened_rules_differ_in_their_times_alone(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(shortened(RULES.read_text(), 60))

    assert "SUCCESS" in run_promtool("check", "rules", file)
    assert shortened("for: 2m [1h] x_seconds) > 120 ratio_rate5m", 60) == (
        "for: 2000ms [60000ms] x_seconds) > 2 ratio_rate5m"
    )
