"""`report` groups the outcomes of a plan, `diff` compares it with the backend, and `watch` shows its progress."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB
from tests.functional.adopting.plans import NAMES, apply, make_plan, refused_names, undo
from tests.functional.adopting.shell import Shell
from tests.functional.world import World


def test_report_groups_outcomes_by_reason_with_a_remedy(shell: Shell, world: World, plan: str) -> None:
    refused_names(plan, 2, 3)
    apply(shell, plan)

    done, failed = shell.rows("report", plan)

    assert (done["Outcome"], done["Count"], done["Remedy"]) == ("done", 2, "")
    assert (failed["Outcome"], failed["Reason"], failed["Count"], failed["Example"]) == (
        "failed",
        "invalid_request",
        1,
        NAMES[0],
    )
    assert failed["Remedy"] == "correct the entry as the text says"


def test_report_of_failures_shows_each_with_its_text(shell: Shell, world: World, plan: str) -> None:
    world.fail_at({"rename": errors.Unusable("broken")})
    apply(shell, plan)
    Path(f"{plan}.journal").unlink()

    rows = shell.rows("report", plan, "--failed")

    assert [row["Source"] for row in rows] == NAMES
    assert {row["Outcome"] for row in rows} == {"failed"}


def test_report_before_an_apply_and_after_an_undo(shell: Shell, world: World, plan: str) -> None:
    [before] = shell.rows("report", plan)
    apply(shell, plan)
    undo(shell, plan)
    [after] = shell.rows("report", plan)

    assert (before["Outcome"], before["Count"]) == ("not sent", 3)
    assert (after["Outcome"], after["Count"]) == ("undone", 3)


def test_report_shows_what_another_machine_has_undone(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    elsewhere = Path(plan).rename(shell.folder / "elsewhere.jsonl")
    undo(shell, str(elsewhere), "--name", NAMES[0])
    elsewhere.rename(plan)

    rows = shell.rows("report", plan)

    assert [(row["Outcome"], row["Count"]) for row in rows] == [("done", 2), ("undone", 1)]


def test_report_shows_the_journal_if_the_service_does_not_answer(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)

    ended = shell.run("report", plan, "-f", "json", OS_ENDPOINT="http://127.0.0.1:1/v3/x")

    assert (ended.returncode, json.loads(ended.stdout)[0]["Outcome"]) == (0, "done")
    assert ended.stderr.endswith("; the report shows the journal\n")


class Page(HTMLParser):
    """The names of the elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile_plan(shell: Shell, world: World) -> str:
    """Plan to manage snapshots whose names attack browsers, spreadsheets and terminals."""
    for name in ("=cmd()", "<script>alert(1)</script>", "bell\x07"):
        world.driver.add_snapshot("volume-1", name)
    return make_plan(shell)


def test_report_as_a_page_escapes_names(shell: Shell, hostile_plan: str) -> None:
    out = shell.folder / "report.html"

    assert shell.run("report", hostile_plan, "--out", str(out)).returncode == 0

    page = Page(out.read_text())
    assert "script" not in page.elements
    assert "<script>alert(1)</script>" in page.text
    assert "bell\\x07" in page.text


def test_report_as_a_table_has_no_formulas(shell: Shell, hostile_plan: str) -> None:
    out = shell.folder / "report.csv"

    assert shell.run("report", hostile_plan, "--out", str(out)).returncode == 0

    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Source"] for row in rows if "cmd" in row["Source"]] == ["'=cmd()"]
    assert not any(cell.startswith("=") for row in rows for cell in row.values())


def test_report_as_json_has_every_snapshot_unchanged(shell: Shell, hostile_plan: str) -> None:
    out = shell.folder / "report.json"

    assert shell.run("report", hostile_plan, "--out", str(out)).returncode == 0

    report = json.loads(out.read_text())
    assert {"=cmd()", "bell\x07"} <= {each["source"] for each in report["snapshots"]}
    assert [group["count"] for group in report["groups"]] == [6]


def test_report_of_another_form_is_refused(shell: Shell, plan: str) -> None:
    ended = shell.run("report", plan, "--out", "report.pdf")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "--out must end in" in ended.stderr


def difference(shell: Shell, plan: str) -> tuple[int, list[tuple[str, str, str]]]:
    """Return the exit code and the rows of `diff`."""
    ended = shell.run("diff", plan, "-f", "json")
    assert "Traceback" not in ended.stderr
    rows = json.loads(ended.stdout)
    return ended.returncode, [(row["Difference"], row["Name"], row["Text"]) for row in rows]


def test_unchanged_backend_does_not_differ_before_and_after_an_apply(shell: Shell, world: World, plan: str) -> None:
    assert difference(shell, plan) == (0, [])
    apply(shell, plan)
    assert difference(shell, plan) == (0, [])


def test_diff_shows_changed_missing_and_new_snapshots(shell: Shell, world: World, plan: str) -> None:
    world.driver.add_snapshot("volume-1", NAMES[0], size_bytes=7 * GIB)
    world.driver.remove(NAMES[1])
    world.driver.add_snapshot("volume-1", "fresh")

    changes = (
        "size was 1, is 7; identity was fake-2, is fake-5; "
        "created_at was 2024-01-01T00:00:02+00:00, is 2024-01-01T00:00:05+00:00"
    )
    assert difference(shell, plan) == (
        1,
        [
            ("new", "fresh", "it is not in the plan"),
            ("changed", NAMES[0], changes),
            ("gone", NAMES[1], "it is not on the backend"),
        ],
    )


def test_diff_ignores_new_snapshots_that_the_selectors_do_not_choose(shell: Shell, world: World) -> None:
    plan = make_plan(shell, "--name", "volume-1-*")
    world.driver.add_snapshot("volume-1", "fresh")

    assert difference(shell, plan) == (0, [])


def test_diff_in_trouble_exits_with_2(shell: Shell) -> None:
    assert shell.run("diff", str(shell.folder / "missing.jsonl")).returncode == 2


@pytest.mark.parametrize("wrong", [["--nonsense"], ["--os-cloud"], ["-c", "Nonsense"]])
def test_wrong_option_of_diff_is_trouble(shell: Shell, plan: str, wrong: list[str]) -> None:
    ended = shell.run("diff", plan, *wrong)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


def test_watch_ends_with_the_counts_and_the_last_errors(shell: Shell, world: World, plan: str) -> None:
    world.fail_at({"rename": errors.Unusable("broken")})
    apply(shell, plan)

    ended = shell.run("watch", "--plan", plan)

    counts, *reasons = ended.stdout.splitlines()
    assert (ended.returncode, counts) == (0, "0 creating, 0 available, 0 unmanaging, 3 error")
    assert len(reasons) == 3
    assert all("broken" in reason for reason in reasons)


@pytest.mark.parametrize("option", ["--interval", "--timeout"])
@pytest.mark.parametrize("value", ["nan", "0", "-1"])
def test_watch_refuses_a_time_that_is_none(shell: Shell, option: str, value: str) -> None:
    ended = shell.run("watch", f"{option}={value}")

    assert f"argument {option}: '{value}' must be a number of seconds above 0" in ended.stderr


def test_watch_of_work_that_does_not_end_times_out(shell: Shell, world: World, plan: str) -> None:
    with world.hang_at("rename"):
        apply(shell, plan, "--no-wait")

        assert shell.run("watch", "--timeout", "1", "--interval", "0.2").returncode == 3
