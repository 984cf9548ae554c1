"""`-f json`: each command that prints a list or a report prints one JSON value on standard output, and nothing else."""

import json

import pytest

from tests.functional.client import PROJECT
from tests.functional.cmd.programs import HOST, VOLUME, Standalone, audit_entries, listed, manage, manage_snapshot

LISTS = [
    ("service", "list"),
    ("audit", "list"),
    ("quarantine", "list"),
    ("quota", "list"),
    ("upstream", "list"),
    ("upstream", "unmanaged"),
    ("stuck",),
    ("reconcile",),
    ("audit", "verify"),
    ("purge", "--failed", "--dry-run"),
]


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_every_list_and_every_report_is_a_json_array(standalone: Standalone, command: tuple[str, ...]) -> None:
    standalone.start()

    assert isinstance(listed(standalone, *command), list)


def test_lists_have_the_values_of_the_tables(standalone: Standalone) -> None:
    manage_snapshot(standalone.start())
    audit_entries(standalone, 2)
    manage(standalone, "quota", "set", PROJECT, "--snapshots", "7")

    [server] = listed(standalone, "service", "list")
    [quota] = listed(standalone, "quota", "list")
    shown = listed(standalone, "quota", "show", PROJECT)
    [verified] = listed(standalone, "audit", "verify")

    assert (server["server"], server["driver"], server["disabled_reason"]) == (HOST, "file", None)
    assert (quota["project_id"], quota["snapshots"], quota["volumes"]) == (PROJECT, 7, None)
    assert shown["snapshots"] == {"limit": 7, "is_default": False, "in_use": 1}
    assert (verified["kind"], verified["rows"]) == ("HEAD", 2)


def test_report_of_differences_has_the_results_of_a_fix(standalone: Standalone) -> None:
    snapshot_id = manage_snapshot(standalone.start())
    name = f"{VOLUME}@snapshot-{snapshot_id}"
    (standalone.backend / name).rename(standalone.backend / f"{VOLUME}@mine")

    found = manage(standalone, "reconcile", "--format", "json")
    fixed = manage(standalone, "reconcile", "--fix", "-f", "json")

    [difference], [result] = json.loads(found.stdout), json.loads(fixed.stdout)
    assert (found.returncode, fixed.returncode) == (2, 2)
    assert (difference["kind"], difference["snapshot_id"], difference["server"]) == ("RENAMED", snapshot_id, HOST)
    assert result["result"] == f"Renamed it back to {name!r}."


@pytest.mark.parametrize(("command", "note"), [("stuck", "has waited for 60 seconds"), ("reconcile", "agree")])
def test_note_says_that_all_is_well_on_standard_error(standalone: Standalone, command: str, note: str) -> None:
    manage_snapshot(standalone.start())

    ended = manage(standalone, command)

    assert (ended.returncode, ended.stdout) == (0, "")
    assert note in ended.stderr


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_unknown_format_is_refused(standalone: Standalone, command: tuple[str, ...]) -> None:
    standalone.start()

    ended = manage(standalone, *command, "-f", "yaml")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "-f/--format: invalid choice: 'yaml'" in ended.stderr
