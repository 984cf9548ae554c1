"""The files around the code agree with each other: versions, dependencies, targets of make, checks before a commit."""

import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
# These extras are part of lower-constraints.txt; `cinder` requires newer libraries than snapmanage.
EXTRAS = ("audit", "cli", "keystone", "metrics", "mysql", "postgresql", "upstream")


def setup_cfg() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return found


def requirements(lines: str) -> dict[str, Requirement]:
    """Return the requirements of a text by their canonical names."""
    found = [Requirement(line) for line in re.sub(r"#.*", "", lines).split("\n") if line.strip()]
    return {canonicalize_name(each.name): each for each in found}


def version(requirement: Requirement, operator: str) -> str:
    """Return the version of a requirement that has exactly this one operator."""
    [specifier] = requirement.specifier
    assert specifier.operator == operator, requirement
    return specifier.version


def bounds() -> dict[str, str]:
    """Return the lowest version of each direct dependency, the tested extras included."""
    extras = setup_cfg()["extras"]
    lines = [(ROOT / "requirements.txt").read_text(), *(extras[name] for name in EXTRAS)]
    return {name: version(each, ">=") for name, each in requirements("\n".join(lines)).items()}


def test_lower_constraints_are_the_bounds_of_the_dependencies() -> None:
    constraints = requirements((ROOT / "lower-constraints.txt").read_text())

    assert {name: version(each, "==") for name, each in constraints.items()} == bounds()


def test_tests_have_the_bounds_of_the_extras() -> None:
    for_tests = requirements((ROOT / "test-requirements.txt").read_text())
    shared = for_tests.keys() & bounds().keys()

    assert {name: version(for_tests[name], ">=") for name in shared} == {name: bounds()[name] for name in shared}


def test_classifiers_name_the_versions_of_python_that_the_workflow_tests() -> None:
    classifiers = re.findall(r"Python :: (3\.\d+)", setup_cfg()["metadata"]["classifier"])

    assert [each["python"] for each in jobs()["test"]["strategy"]["matrix"]["include"]] == classifiers


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", [WORKFLOW]),
        ("vendor.github-issue-config", [TEMPLATES / "config.yml"]),
        ("vendor.github-issue-forms", sorted(set(TEMPLATES.glob("*.yml")) - {TEMPLATES / "config.yml"})),
    ],
    ids=["workflow", "issue configuration", "issue forms"],
)
def test_file_of_the_platform_fits_its_schema(schema: str, files: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_workflow_may_only_read_the_repository() -> None:
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs().items() if "permissions" in job] == []


def test_workflow_pins_each_action_to_a_major_version() -> None:
    actions = [step["uses"] for job in jobs().values() for step in job["steps"] if "uses" in step]

    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", action)] == []


def test_last_step_of_each_job_runs_targets_of_make() -> None:
    commands = {name: job["steps"][-1]["run"].split() for name, job in jobs().items()}

    assert {name: command for name, command in commands.items() if command[0] != "make"} == {}
    assert {name: command for name, command in commands.items() if not set(command[1:]) <= TARGETS} == {}


def test_each_environment_of_tox_runs_a_target_of_make() -> None:
    tox = (ROOT / "tox.ini").read_text()
    [named] = re.findall(r"^\[testenv:\{(.*)\}\]$", tox, re.MULTILINE)
    commands = re.findall(r"^commands = (.*)$", tox, re.MULTILINE)

    assert set(named.split(",")) <= TARGETS
    assert {command.split()[0] for command in commands} == {"make"}
    assert {command.split()[-1] for command in commands} - {"{env_name}"} <= TARGETS


def test_hooks_before_a_commit_run_the_tools_of_make_lint() -> None:
    [recipe] = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    configured = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/") for repo in configured for hook in repo["hooks"]]

    tools = re.findall(r"\$\(BIN\)/(python -m \S+|ruff \w+|\w+)", recipe)
    assert {hook.partition(" --")[0] for hook in hooks} == set(tools)
