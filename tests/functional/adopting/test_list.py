"""`snapmanage list` shows the snapshots of a backend."""

from pathlib import Path

import pytest

from snapmanage.core.backend import Unsafe
from snapmanage.testing.services.process import free_port
from tests.functional.adopting.shell import Shell
from tests.functional.client import PROJECT, SERVER
from tests.functional.cmd.programs import run
from tests.functional.world import World

NAMES = [f"volume-1-snapshot-{number}" for number in (1, 2, 3)]
# The backend has made it later.
DAILY = "autosnap_2020-01-02_00:00:00_daily"


def test_list_shows_each_snapshot_with_its_volume(shell: Shell) -> None:
    rows = shell.rows("list", "--host", SERVER)

    assert [(row["Name"], row["Volume"], row["Size"], row["Safe"]) for row in rows] == [
        (name, "volume-1", 1, True) for name in NAMES
    ]


def test_list_shows_why_a_snapshot_is_not_safe_to_manage(shell: Shell, world: World) -> None:
    world.driver.mark(NAMES[0], Unsafe.IN_USE, "qemu has it open")

    reasons = {row["Name"]: row["Reason"] for row in shell.rows("list", "--host", SERVER)}

    assert reasons == {NAMES[0]: "in use: qemu has it open", NAMES[1]: None, NAMES[2]: None}
    assert [row["Name"] for row in shell.rows("list", "--host", SERVER, "--safe-only")] == NAMES[1:]


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        (["--name", "*-1"], NAMES[:1]),
        (["--exclude", "*-1"], NAMES[1:]),
        (["--name-regex", "[13]$"], [NAMES[0], NAMES[2]]),
        (["--source-volume", "volume-2"], []),
        (["--older-than", "1d"], NAMES),
        (["--newer-than", "1d"], []),
        (["--min-size", "2"], []),
        (["--orphans"], []),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_list_shows_selected_snapshots(shell: Shell, selectors: list[str], chosen: list[str]) -> None:
    assert [row["Name"] for row in shell.rows("list", "--host", SERVER, *selectors)] == chosen


def test_list_shows_what_a_new_name_changes_for_the_program(shell: Shell, world: World) -> None:
    for day in (1, 2):
        world.driver.add_snapshot("volume-1", f"autosnap_2020-01-0{day}_00:00:00_daily")

    warnings = {row["Origin"]: row["Warning"] for row in shell.rows("list", "--host", SERVER)}
    ended = shell.run("list", "--host", SERVER)

    assert warnings.keys() == {"sanoid", None}
    assert (warnings["sanoid"].startswith("sanoid no longer finds it"), warnings[None]) == (True, None)
    assert ended.stderr == f"warning for 2: {warnings['sanoid']}\n"
    assert warnings["sanoid"] not in ended.stdout


def test_time_in_the_name_counts_for_the_age_of_a_snapshot(shell: Shell, world: World) -> None:
    world.driver.add_snapshot("volume-1", DAILY)

    [row] = shell.rows("list", "--host", SERVER, "--created-before", "2021-01-01")

    assert (row["Name"], row["Created"]) == (DAILY, "2020-01-02T00:00:00+00:00")
    assert DAILY not in [row["Name"] for row in shell.rows("list", "--host", SERVER, "--created-after", "2021-01-01")]


def test_glob_that_the_service_would_refuse_is_refused(shell: Shell) -> None:
    ended = shell.run("list", "--host", SERVER, "--exclude", "*" * 9)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "--exclude has 9 *; the limit is 8" in ended.stderr


def test_foreign_names_are_escaped_in_a_table(shell: Shell, world: World) -> None:
    world.driver.add_snapshot("volume-1", "evil\x1b[31m")

    ended = shell.run("list", "--host", SERVER)

    assert ended.returncode == 0
    assert "evil\\x1b[31m" in ended.stdout


def test_character_that_the_terminal_lacks_is_escaped(shell: Shell, world: World) -> None:
    world.driver.add_snapshot("volume-1", "price-€")
    environment = shell.environment | {"PYTHONIOENCODING": "ascii"}

    ended = run("snapmanage", "list", "--host", SERVER, "-f", "value", "-c", "Name", is_warm=False, **environment)

    assert ended.returncode == 0
    assert "price-\\u20ac" in ended.stdout


def test_unknown_host_is_reported_without_a_traceback(shell: Shell) -> None:
    ended = shell.run("list", "--host", "storage-9@slow")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("host storage-9@slow: ")
    assert len(ended.stderr.splitlines()) == 1


def test_service_that_does_not_answer_is_reported_in_one_sentence(shell: Shell) -> None:
    address = f"http://127.0.0.1:{free_port()}/v3/{PROJECT}"

    ended = shell.run("list", "--host", SERVER, OS_ENDPOINT=address)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"no Block Storage API answers at {address}; check the cloud that OS_* or --os-cloud names, or start "
        "snapmanage standalone\n"
    )


def test_selector_without_a_meaning_is_refused_with_its_name(shell: Shell) -> None:
    ended = shell.run("list", "--host", SERVER, "--older-than", "a while")

    assert ended.returncode == 1
    assert ended.stderr.startswith("--older-than must be a number with a unit")


@pytest.mark.parametrize("option", ["--latest", "--min-size", "--max-size"])
@pytest.mark.parametrize("wrong", ["-1", "1.5", "1_0", "x"])
def test_selector_that_is_no_number_is_refused(shell: Shell, option: str, wrong: str) -> None:
    ended = shell.run("list", "--host", SERVER, f"{option}={wrong}")

    assert ended.returncode != 0
    assert f"argument {option}: '{wrong}' must be a number from 0" in ended.stderr


def test_client_command_without_its_libraries_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "cliff.py").write_text("raise ModuleNotFoundError('no cliff', name='cliff')\n")

    ended = run("snapmanage", "list", is_warm=False, PYTHONPATH=str(tmp_path))

    assert ended.returncode == 1
    assert ended.stderr == ("error: the command list requires the package cliff; run: pip install 'snapmanage[cli]'\n")
