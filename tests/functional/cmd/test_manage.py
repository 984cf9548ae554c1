"""`snapmanage-manage`: servers, quotas and the schema."""

import re
from pathlib import Path

import pytest

from tests.functional.client import PROJECT
from tests.functional.cmd.programs import (
    HOST,
    VOLUME,
    Standalone,
    await_settled,
    configuration,
    manage,
    refusal,
    register_volume,
    request_manage,
    run,
)


def test_disabled_server_gets_no_requests_until_it_is_enabled(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)

    assert manage(standalone, "service", "disable", HOST, "--reason", "new disks").returncode == 0
    refused = client.manage(volume, f"{VOLUME}@daily")
    listed = manage(standalone, "service", "list").stdout
    assert manage(standalone, "service", "enable", HOST).returncode == 0
    taken = client.manage(volume, f"{VOLUME}@daily")

    assert (refused.status_code, taken.status_code) == (400, 202)
    assert re.fullmatch(rf"{HOST}  driver file  heartbeat \S+  disabled: new disks\n", listed)
    assert manage(standalone, "service", "list").stdout.endswith("  enabled\n")


def test_unknown_server_can_not_be_disabled(standalone: Standalone) -> None:
    standalone.start()

    assert "nobody@nowhere" in refusal(manage(standalone, "service", "disable", "nobody@nowhere", "--reason", "x"))


def test_raised_or_lowered_quota_takes_effect_at_once(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    await_settled(client, request_manage(client, volume, f"{VOLUME}@daily"))

    lowered = manage(standalone, "quota", "set", PROJECT, "--snapshots", "1")
    refused = client.manage(volume, f"{VOLUME}@weekly")
    raised = manage(standalone, "quota", "set", PROJECT, "--snapshots", "2", "--gigabytes", "-1")
    taken = client.manage(volume, f"{VOLUME}@weekly")
    unset = manage(standalone, "quota", "unset", PROJECT)
    unlimited = client.manage(volume, f"{VOLUME}@monthly")

    assert (refused.status_code, list(refused.json())) == (413, ["overLimit"])
    assert (taken.status_code, unlimited.status_code) == (202, 202)
    size = client.snapshot(taken.json()["snapshot"]["id"])["size"]
    others = "volumes  limit unlimited (default)  in use 1\nfailed_records  limit 1000 (default)  in use 0\n"
    assert lowered.stdout == (
        f"snapshots  limit 1  in use 1\ngigabytes  limit unlimited (default)  in use {size}\n{others}"
    )
    assert raised.stdout == f"snapshots  limit 2  in use 1\ngigabytes  limit unlimited  in use {size}\n{others}"
    assert unset.stdout.startswith("snapshots  limit unlimited (default)  in use 2\n")


def test_project_without_a_limit_of_its_own_shows_the_default(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    config.write_text(f"{config.read_text()}[quota]\nsnapshots = 7\n")

    def quota(*arguments: str) -> str:
        ended = run("snapmanage-manage", "--config-file", config, "quota", *arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    run("snapmanage-manage", "--config-file", config, "db", "sync")
    quota("set", "b", "--gigabytes", "0")
    quota("set", "a", "--snapshots", "3")
    quota("set", "a", "--gigabytes", "-1")
    quota("set", "gone", "--snapshots", "3")
    quota("unset", "gone")
    quota("set", "c", "--volumes", "2", "--failed-records", "0")

    assert quota("list").splitlines() == [
        "a  snapshots 3        gigabytes unlimited  volumes default  failed_records default",
        "b  snapshots default  gigabytes 0          volumes default  failed_records default",
        "c  snapshots default  gigabytes default    volumes 2        failed_records 0",
    ]
    assert quota("show", "b").splitlines() == [
        "snapshots  limit 7 (default)  in use 0",
        "gigabytes  limit 0  in use 0",
        "volumes  limit unlimited (default)  in use 0",
        "failed_records  limit 1000 (default)  in use 0",
    ]
    assert quota("show", "gone").startswith("snapshots  limit 7 (default)  in use 0\n")


def test_quota_without_a_limit_is_refused_in_one_line(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    line = refusal(run("snapmanage-manage", "--config-file", config, "quota", "set", PROJECT))

    assert "requires a limit: --snapshots, --gigabytes, --volumes or --failed-records" in line


@pytest.mark.parametrize("arguments", [["set", "", "--snapshots", "1"], ["unset", "p" * 256], ["show", ""]])
def test_malformed_project_of_a_quota_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", config, "quota", *arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"argument project: must have 1 to 255 characters, not {len(arguments[1])}" in ended.stderr


@pytest.mark.parametrize("limit", ["-2", "2147483648", "\N{SUPERSCRIPT TWO}", "9" * 500])
def test_malformed_limit_is_refused_with_the_valid_range(tmp_path: Path, limit: str) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", config, "quota", "set", PROJECT, f"--gigabytes={limit}")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "argument --gigabytes: must be a number from 0 to 2147483647, or -1 for no limit" in ended.stderr


def test_schema_sync_can_be_repeated(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    first = run("snapmanage-manage", "--config-file", config, "db", "sync")
    second = run("snapmanage-manage", "--config-file", config, "db", "sync")

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout == "The schema is current.\n"
