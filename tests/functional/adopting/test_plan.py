"""`snapmanage plan` writes what would be managed; `show` shows it."""

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.client.plan.entries import entry_of
from snapmanage.core.backend import Unsafe
from tests.functional.adopting.plans import make_plan
from tests.functional.adopting.shell import Shell
from tests.functional.client import SERVER
from tests.functional.world import World

NAMES = [f"volume-1-snapshot-{number}" for number in (1, 2, 3)]


def planned(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    """Return the lines of a new plan."""
    ended = shell.run("plan", "--host", SERVER, "--out", "-", *arguments)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_plan_registers_the_volume_before_its_snapshots(shell: Shell) -> None:
    header, volume, *snapshots = planned(shell)

    assert (header["plan"], header["hosts"], header["scans"][SERVER]["entries"]) == (1, [SERVER], 3)
    assert (volume["do"], volume["key"], volume["ref"]) == ("register-volume", "v1", {"source-name": "volume-1"})
    assert [(each["do"], each["volume"], each["ref"]["source-name"]) for each in snapshots] == [
        ("manage", "v1", name) for name in NAMES
    ]


def test_plan_finds_a_registered_volume(shell: Shell, world: World) -> None:
    volume_id = world.register_volume()

    _, *snapshots = planned(shell)

    assert {(each["do"], each["volume"]) for each in snapshots} == {("manage", volume_id)}


def test_plan_skips_snapshots_with_reasons(shell: Shell, world: World) -> None:
    world.driver.mark(NAMES[0], Unsafe.IN_USE, "qemu has it open")
    world.driver.add_volume("gone")
    world.driver.add_snapshot("gone", "lonely")
    world.driver.remove("gone")
    world.manage_snapshot(world.register_volume(), {"source-name": NAMES[1]})

    skipped = {each["why"]: each["ref"]["source-name"] for each in planned(shell) if each.get("do") == "skip"}

    assert skipped.keys() == {"in_use", "orphan", "already_managed"}
    assert (skipped["in_use"], skipped["orphan"]) == (NAMES[0], "lonely")


def test_unsafe_snapshot_is_planned_with_a_warning_on_request(shell: Shell, world: World) -> None:
    world.driver.mark(NAMES[0], Unsafe.IN_USE, "qemu has it open")

    [entry] = [each for each in planned(shell, "--include-unsafe", "--name", NAMES[0]) if each.get("do") == "manage"]

    assert entry["warnings"] == ["not safe to manage: in use: qemu has it open"]


def test_names_and_metadata_follow_templates(shell: Shell) -> None:
    templates = ["--name-template", "{volume}/{name}", "--metadata", "from={host}", "--name", NAMES[0]]

    _, _, entry = planned(shell, *templates)

    assert entry["name"] == f"volume-1/{NAMES[0]}"
    assert entry["metadata"] == {"original-name": NAMES[0], "from": SERVER}


def test_template_with_an_unknown_field_is_refused(shell: Shell) -> None:
    ended = shell.run("plan", "--host", SERVER, "--out", "-", "--name-template", "{colour}")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "unknown field 'colour'" in ended.stderr


def test_plan_by_times_that_the_service_does_not_show_warns(plain_shell: Shell) -> None:
    ended = plain_shell.run("plan", "--host", SERVER, "--out", "-", "--keep", "daily=7")

    assert ended.returncode == 0
    assert ended.stderr.startswith("warning: the service shows no time for 3 of 3 snapshots")


def test_plan_expects_the_identity_and_the_time_of_each_snapshot(shell: Shell, world: World) -> None:
    [known] = [each for each in world.driver.list_snapshots() if each.name == NAMES[0]]
    assert known.created_at is not None

    _, _, entry = planned(shell, "--name", NAMES[0])

    assert entry["expect"]["identity"] == known.identity
    assert entry["expect"]["created_at"] == known.created_at.isoformat()


def test_plan_expects_the_time_of_the_backend_and_names_by_the_time_of_the_program(shell: Shell, world: World) -> None:
    made = world.driver.add_snapshot("volume-1", "autosnap_2020-01-02_00:00:00_daily")
    assert made.created_at is not None

    _, _, entry = planned(shell, "--created-before", "2021-01-01", "--name-template", "{date}")

    assert (entry["name"], entry["expect"]["created_at"]) == ("20200102", made.created_at.isoformat())


def test_plan_for_a_plain_service_knows_the_programs_by_the_names(plain_shell: Shell, plain_world: World) -> None:
    plain_world.driver.add_snapshot("volume-1", "autosnap_2026-07-30_10:00:01_daily")
    plain_world.driver.add_snapshot("volume-1", "syncoid_nas_2020-01-27:12:30:01")

    _, _, *entries = planned(plain_shell, "--exclude", "volume-1-*")

    by_origin = {each["do"]: each for each in entries}
    assert by_origin["manage"]["metadata"]["origin"] == "sanoid"
    assert by_origin["manage"]["metadata"]["origin-class"] == "daily"
    assert by_origin["manage"]["warnings"][0].startswith("sanoid no longer finds it")
    assert by_origin["skip"]["why"] == "origin_refuses"


def test_plan_is_edited_as_a_table(shell: Shell) -> None:
    plan, table = shell.folder / "plan.jsonl", shell.folder / "table.csv"
    assert shell.run("plan", "--host", SERVER, "--out", str(plan)).returncode == 0
    shown = shell.run("show", str(plan), "-f", "csv").stdout
    rows = [row for row in csv.DictReader(io.StringIO(shown)) if row["Source"] in NAMES[1:]]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "metadata.ticket"])
        writer.writeheader()
        writer.writerows(row | {"Name": f"new-{number}", "metadata.ticket": "7"} for number, row in enumerate(rows))

    entries = [each for each in planned(shell, "--from", str(table)) if each.get("do") == "manage"]

    assert [(each["ref"]["source-name"], each["name"]) for each in entries] == [
        (NAMES[1], "new-0"),
        (NAMES[2], "new-1"),
    ]
    assert {each["metadata"]["ticket"] for each in entries} == {"7"}


def test_name_that_looks_like_a_formula_survives_the_table(shell: Shell, world: World) -> None:
    world.driver.add_snapshot("volume-1", "=cmd()")
    plan, table = shell.folder / "plan.jsonl", shell.folder / "table.csv"
    assert shell.run("plan", "--host", SERVER, "--out", str(plan), "--name", "=*").returncode == 0
    table.write_text(shell.run("show", str(plan), "-f", "csv").stdout)

    _, _, managed = planned(shell, "--from", str(table))

    assert "'=cmd()" in table.read_text()
    assert managed["ref"] == {"source-name": "=cmd()"}


def round_trip(shell: Shell, plan: str) -> list[dict[str, Any]]:
    """Return the lines of a plan of the rows that `show -f csv` prints of another plan."""
    table = shell.folder / "table.csv"
    table.write_text(shell.run("show", plan, "-f", "csv").stdout)
    return planned(shell, "--from", str(table))


def test_every_field_survives_the_table(shell: Shell) -> None:
    rows = shell.folder / "rows.yaml"
    rows.write_text(f"- source: {NAMES[0]}\n  description: '-a\\b'\n  name: first\n- source: {NAMES[1]}\n")
    metadata = ["--metadata", "Ticket=4711", "--metadata", "my key={volume}", "--metadata", "k\\n=+1"]
    plan = make_plan(shell, "--from", str(rows), *metadata)

    before, after = ([json.loads(each) for each in Path(plan).read_text().splitlines()], round_trip(shell, plan))

    names = ("ref", "name", "description", "metadata")
    assert [[each[name] for name in names] for each in after[2:]] == [
        [each[name] for name in names] for each in before[2:]
    ]
    assert {each["metadata"]["Ticket"] for each in after[2:]} == {"4711"}


def test_every_name_survives_the_table(shell: Shell, world: World) -> None:
    names = [
        "two\nlines",
        "\x1b[31m",
        "a\\nb",
        "a\\\\n\n",
        "disk\\x2d1",
        "'=1",
        'quoted "name", too',
        "C:\\new",
        "bidi\u202e",
    ]
    for name in names:
        world.driver.add_snapshot("volume-1", name)

    made = round_trip(shell, make_plan(shell, "--exclude", "volume-1-*"))

    managed = [each for each in made if each.get("do") == "manage"]
    assert sorted(each["ref"]["source-name"] for each in managed) == sorted(names)
    assert not [each for each in made if each.get("do") == "skip"]


def test_spreadsheet_may_mark_its_encoding(shell: Shell) -> None:
    (shell.folder / "rows.csv").write_text(f"\ufeffDo,Source\r\nskip,{NAMES[0]}\r\nmanage,{NAMES[1]}\r\n")

    _, _, managed = planned(shell, "--from", str(shell.folder / "rows.csv"))

    assert managed["ref"] == {"source-name": NAMES[1]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.yaml", f"- source: {NAMES[0]}\n- source: nowhere\n"),
        ("rows.jsonl", f'{{"source": "{NAMES[0]}"}}\n{{"ref": {{"source-name": "nowhere"}}}}\n'),
    ],
)
def test_row_without_a_snapshot_is_skipped(shell: Shell, name: str, text: str) -> None:
    (shell.folder / name).write_text(text)

    _, _, managed, skipped = planned(shell, "--from", str(shell.folder / name))

    assert managed["ref"] == {"source-name": NAMES[0]}
    assert (skipped["ref"], skipped["why"]) == ({"source-name": "nowhere"}, "source_not_found")


def test_exit_code_says_whether_there_is_something_to_do(shell: Shell) -> None:
    command = ["plan", "--host", SERVER, "--out", "-", "--detailed-exitcode"]

    assert shell.run(*command).returncode == 2
    assert shell.run(*command, "--name", "nothing").returncode == 0
    assert shell.run(*command, "--older-than", "x").returncode == 1


def test_plan_is_a_private_file_and_overwrites_none(shell: Shell) -> None:
    plan = shell.folder / "plan.jsonl"
    command = ["plan", "--host", SERVER, "--out", str(plan)]

    assert shell.run(*command).returncode == 0
    before = plan.read_text()
    again = shell.run(*command)

    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    assert (again.returncode, plan.read_text()) == (1, before)
    assert "the file exists" in again.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the first line must have the field plan"),
        ("{}\n", "line 1: the first line must have the field plan"),
        ("[1]\n", "line 1: the line must be a JSON object"),
        (
            '{"plan": 1, "id": "a", "created_at": "b", "endpoint": "c"}\n{"do": "dance"}\n',
            "line 2: the field do must be",
        ),
        ('{"plan": 1, "id": "a", "created_at": "b", "endpoint": "c"}\n\x1b\n', "line 2: the line is not JSON"),
        (
            '{"plan": 1, "id": "a", "created_at": "b", "endpoint": "c"}\n'
            '{"do": "manage", "key": "s1", "volume": "v", "host": "h", "ref": {"a": "b"}, "expect": {"size": 1e999}}\n',
            "line 2: the field size must be a whole number, not inf",
        ),
        (
            '{"plan": 1, "id": "a", "created_at": "b", "endpoint": "c"}\n'
            '{"do": "manage", "key": "s1", "volume": "v", "host": "h", "ref": {"a": "b"}, "expect": {"volume": [1]}}\n',
            "line 2: the field volume must be a text",
        ),
    ],
)
def test_file_that_is_no_plan_is_refused_with_its_line(shell: Shell, text: str, complaint: str) -> None:
    (shell.folder / "plan.jsonl").write_text(text)

    ended = shell.run("show", str(shell.folder / "plan.jsonl"))

    assert ended.returncode == 1
    assert complaint in ended.stderr


@pytest.mark.parametrize(
    ("field", "wrong", "complaint"),
    [
        ("id", 7, "the field id must be a text or null, not 7"),
        ("description", [], "the field description must be a text or null, not []"),
        ("expect", {"size": "x"}, "the field size must be a whole number, not 'x'"),
        ("expect", {"identity": 1}, "the field identity must be a text or null, not 1"),
        ("renames", {"to": 1}, "the field to must be a text or null, not 1"),
    ],
)
def test_wrong_field_of_an_edited_plan_is_named(field: str, wrong: object, complaint: str) -> None:
    entry = {"do": "manage", "key": "s1", "volume": "v1", "host": "a@b", "ref": {"source-name": "x"}}

    with pytest.raises(errors.InvalidRequest) as refused:
        entry_of(entry | {field: wrong})

    assert str(refused.value) == complaint


def test_show_restricts_the_entries_to_a_reason(shell: Shell, world: World) -> None:
    world.driver.mark(NAMES[0], Unsafe.UNUSABLE, "overflowed")
    plan = str(shell.folder / "plan.jsonl")
    assert shell.run("plan", "--host", SERVER, "--out", plan).returncode == 0

    [row] = shell.rows("show", plan, "--why", "unusable")

    assert (row["Source"], row["Text"]) == (NAMES[0], "unusable: overflowed")


def test_escape_sequence_in_a_plan_does_not_reach_the_terminal(shell: Shell) -> None:
    plan = shell.folder / "plan.jsonl"
    plan.write_text(json.dumps({"plan": 1, "id": "a", "created_at": "b", "endpoint": "\x1b[31m\u202e"}) + "\n")

    for command in ("apply", "diff", "report", "undo"):
        ended = shell.run(command, str(plan))

        assert ended.returncode != 0
        assert "the plan was made for \\x1b[31m\\u202e" in ended.stderr
        assert "\x1b" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("rows.jsonl", "[" * 200_000, "recursion depth"),
        ("rows.jsonl", "5", "each line must be a JSON object"),
        ("rows.yaml", "[" * 5_000, "recursion depth"),
        ("rows.yaml", "- {source: a, metadata: {k: [b]}}", "k must be a text, not a list or an object"),
        ("rows.yaml", "- {source: a, name: {b: c}}", "name must be a text, not a list or an object"),
    ],
)
def test_rows_in_another_form_are_refused_with_their_file(shell: Shell, name: str, text: str, complaint: str) -> None:
    (shell.folder / name).write_text(text)

    ended = shell.run("plan", "--host", SERVER, "--out", "-", "--from", str(shell.folder / name))

    assert ended.returncode == 1
    assert f"{name} can't be read: " in ended.stderr
    assert complaint in ended.stderr
