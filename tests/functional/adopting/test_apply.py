"""`snapmanage apply` carries out a plan, each entry once; `undo` restores the old names."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB
from snapmanage.testing.waiting import until
from tests.functional.adopting.plans import NAMES, apply, journal, make_plan, names, refused_names, snapshots, undo
from tests.functional.adopting.shell import Shell
from tests.functional.client import SERVER
from tests.functional.cmd.programs import FOLDER, run
from tests.functional.world import World

# Its program has noted another time than the backend, in the name.
COPY = "autosnap_2100-01-02_00:00:00_daily"


def test_apply_manages_every_snapshot_of_the_plan(shell: Shell, world: World, plan: str) -> None:
    assert apply(shell, plan) == (0, "3 managed, 0 failed, 0 undone, 0 in progress, 0 not sent")

    assert {each["status"] for each in snapshots(world)} == {"available"}
    assert {each["name"] for each in snapshots(world)} == set(NAMES)
    assert names(world).isdisjoint(NAMES)


def test_second_apply_sends_nothing(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    events = world.record_events()

    assert apply(shell, plan)[0] == 0

    assert (events, len(snapshots(world))) == ([], 3)


def test_lost_journal_is_rebuilt_from_the_label(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    done = {each["key"]: each["id"] for each in journal(plan) if each.get("state") == "done"}
    Path(f"{plan}.journal").unlink()

    assert apply(shell, plan)[0] == 0

    assert {each["key"]: each["id"] for each in journal(plan) if each.get("state") == "done"} == done
    assert len(snapshots(world)) == 3


def test_undo_restores_every_old_name_without_the_journal(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    Path(f"{plan}.journal").unlink()

    code, lines = undo(shell, plan)

    assert (code, "3 unmanaged, 0 remain" in lines) == (0, True)
    assert names(world) == set(NAMES)
    assert snapshots(world) == []
    assert world.client.get("volumes").json()["volumes"] == []
    [report] = Path(plan).parent.glob("*.undo-*.jsonl")
    found = [json.loads(line) for line in report.read_text().splitlines()]
    reported = [(each["kind"], each["original_name"]) for each in found]
    assert sorted(reported) == [*(("snapshot", name) for name in NAMES), ("volume", "volume-1")]


@pytest.mark.parametrize("prefix", ["", "plan:"], ids=["id", "label"])
def test_undo_needs_no_file(
    shell: Shell, world: World, plan: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(shell, plan)
    plan_id = json.loads(Path(plan).read_text().partition("\n")[0])["id"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    ended = shell.run("undo", f"{prefix}{plan_id}", "--yes")

    assert ended.returncode == 0, ended.stderr
    assert names(world) == set(NAMES)
    assert world.client.get("volumes").json()["volumes"] == []
    [report] = elsewhere.iterdir()
    assert report.name.startswith(f"{plan_id}.undo-")


def test_undo_of_an_unknown_plan_is_refused(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)

    ended = shell.run("undo", "c40bb7dc-e61f-4c23-9bdb-fb1a66e4fc99", "--yes")
    missing = shell.run("undo", "nowhere.jsonl", "--yes")

    assert (ended.returncode, missing.returncode) == (1, 1)
    assert "no snapshot or volume of this project has the metadata adopted-by: plan:c40bb7dc" in ended.stderr
    assert "nowhere.jsonl can't be read: No such file" in missing.stderr
    assert names(world).isdisjoint(NAMES)


def test_undo_that_is_not_finished_in_time_says_what_is_left(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    world.fail_at({"rename": errors.BackendError("broken")})

    code, lines = undo(shell, plan, "--timeout", "3")

    assert code == 3
    assert "not finished after 3 seconds: 3 snapshots are still unmanaging; check the server" in lines[-1]
    world.fail_at({})
    world.clock.advance(minutes=1)  # the next attempts are due
    assert undo(shell, plan)[0] == 0
    assert names(world) == set(NAMES)


def test_undo_of_a_plan_that_has_registered_only_volumes_reports_them(shell: Shell, world: World, plan: str) -> None:
    refused_names(plan, 2, 5)
    apply(shell, plan)

    code, lines = undo(shell, plan)

    assert code == 0
    assert lines[0].startswith("no snapshots and 1 volume to unmanage; ")
    assert world.client.get("volumes").json()["volumes"] == []


def test_undo_unmanages_selected_snapshots(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)

    assert undo(shell, plan, "--name", NAMES[0])[0] == 0

    assert names(world) & set(NAMES) == {NAMES[0]}


@pytest.mark.parametrize("selector", [("--latest", "1"), ("--keep", "daily=1"), ("--older-than", "1d")])
def test_undo_by_times_is_refused_without_the_file_since_records_have_none(
    shell: Shell, world: World, plan: str, selector: tuple[str, str]
) -> None:
    apply(shell, plan)
    plan_id = json.loads(Path(plan).read_text().partition("\n")[0])["id"]

    code, lines = undo(shell, plan_id, *selector)

    assert (code, len(lines)) == (1, 1)
    assert "do not show when their snapshots were made: give the file of the plan" in lines[0]
    assert names(world).isdisjoint(NAMES)


@pytest.mark.parametrize(
    ("selector", "undone"),
    [
        (("--latest", "2"), {COPY, NAMES[2]}),
        (("--keep", "daily=1"), {COPY}),
        (("--newer-than", "1000y"), {COPY, *NAMES}),
        (("--created-before", "2100-01-01"), set(NAMES)),
        (("--latest", "1", "--exclude", "autosnap*"), {NAMES[2]}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_undo_by_times_reads_them_from_the_plan(
    shell: Shell, world: World, selector: tuple[str, ...], undone: set[str]
) -> None:
    world.driver.add_snapshot("volume-1", COPY)
    plan = make_plan(shell)
    apply(shell, plan)

    assert undo(shell, plan, *selector)[0] == 0

    assert names(world) & {COPY, *NAMES} == undone


def test_undo_by_times_warns_of_entries_without_a_time(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    lines = [json.loads(line) for line in Path(plan).read_text().splitlines()]
    [entry] = [line for line in lines if line.get("ref") == {"source-name": NAMES[0]}]
    del entry["expect"]["created_at"]
    Path(plan).write_text("".join(json.dumps(line) + "\n" for line in lines))

    code, shown = undo(shell, plan, "--created-before", "2100-01-01")

    assert (code, names(world) & set(NAMES)) == (0, set(NAMES[1:]))
    assert shown[0].startswith("warning: the plan has no time for 1 of 3 snapshots: no age selects them")


def test_undo_by_times_is_refused_if_the_plan_has_none(plain_shell: Shell, plain_world: World) -> None:
    plan = make_plan(plain_shell)

    code, lines = undo(plain_shell, plan, "--latest", "1")

    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("the plan has no times, since the service showed none: omit --older-than")


def test_undone_plan_is_not_carried_out_again(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    undo(shell, plan)

    assert apply(shell, plan) == (2, "0 managed, 0 failed, 3 undone, 0 in progress, 0 not sent")

    assert names(world) == set(NAMES)


@pytest.mark.parametrize("has_journal", [True, False], ids=["here", "elsewhere"])
def test_apply_of_an_undone_plan_says_so(shell: Shell, world: World, plan: str, has_journal: bool) -> None:
    apply(shell, plan)
    undo(shell, plan)
    if not has_journal:
        Path(f"{plan}.journal").unlink()

    for _ in range(2):
        ended = shell.run("apply", plan, "--yes")

        *_, reason, totals = ended.stderr.splitlines()
        assert (ended.returncode, reason) == (2, "this plan was undone; make a new plan")
        assert totals == "0 managed, 0 failed, 3 undone, 0 in progress, 0 not sent"
    assert names(world) >= set(NAMES)


def test_apply_of_a_plan_that_is_undone_in_part_says_so(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    undo(shell, plan, "--name", NAMES[0])
    Path(f"{plan}.journal").unlink()

    ended = shell.run("apply", plan, "--yes")

    *_, reason, totals = ended.stderr.splitlines()
    assert reason == "some entries of this plan were undone; make a new plan for them"
    assert (ended.returncode, totals) == (2, "2 managed, 0 failed, 1 undone, 0 in progress, 0 not sent")


def test_new_plan_after_an_undo_is_carried_out(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    undo(shell, plan)

    assert apply(shell, make_plan(shell, name="again.jsonl"))[0] == 0

    assert names(world).isdisjoint(NAMES)


def test_snapshot_that_has_changed_since_the_plan_is_not_sent(shell: Shell, world: World, plan: str) -> None:
    world.driver.add_snapshot("volume-1", NAMES[0], size_bytes=7 * GIB)
    world.driver.remove(NAMES[1])

    assert apply(shell, plan)[0] == 2

    failed = {each["key"]: each for each in journal(plan) if each.get("state") == "failed"}
    assert {each["why"] for each in failed.values()} == {"changed_since_plan"}
    assert failed["s1"]["text"].startswith("size was 1, is 7; identity was ")
    assert [each["name"] for each in snapshots(world)] == [NAMES[2]]


def test_snapshot_that_another_one_of_its_name_and_size_replaces_is_not_sent(
    shell: Shell, world: World, plan: str
) -> None:
    [old] = [each for each in world.driver.list_snapshots() if each.name == NAMES[0]]
    world.driver.remove(NAMES[0])
    world.driver.add_snapshot("volume-1", NAMES[0], size_bytes=old.size_bytes)
    [new] = [each for each in world.driver.list_snapshots() if each.name == NAMES[0]]

    assert apply(shell, plan)[0] == 2

    [failed] = [each for each in journal(plan) if each.get("state") == "failed"]
    assert failed["why"] == "changed_since_plan"
    assert f"identity was {old.identity}, is {new.identity}" in failed["text"]
    assert {each["name"] for each in snapshots(world)} == set(NAMES[1:])
    assert not any(each.get("key") == failed["key"] and each.get("state") == "sending" for each in journal(plan))


def test_wrong_volume_of_an_edited_plan_is_named(shell: Shell, world: World, plan: str) -> None:
    lines = [json.loads(line) for line in Path(plan).read_text().splitlines()]
    lines[2]["expect"]["volume"] = "another"
    del lines[3]["expect"]["volume"]
    Path(plan).write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert apply(shell, plan) == (2, "2 managed, 1 failed, 0 undone, 0 in progress, 0 not sent")

    [failed] = [each for each in journal(plan) if each.get("state") == "failed"]
    assert (failed["key"], failed["text"]) == ("s1", "volume was another, is volume-1")


def test_one_bad_entry_stops_no_other(shell: Shell, world: World, plan: str) -> None:
    refused_names(plan, 2, 3)

    assert apply(shell, plan) == (2, "2 managed, 1 failed, 0 undone, 0 in progress, 0 not sent")

    [failed] = [each for each in journal(plan) if each.get("state") == "failed"]
    assert (failed["key"], failed["why"]) == ("s1", "invalid_request")


def test_failed_operation_is_reported_with_its_reason(shell: Shell, world: World, plan: str) -> None:
    world.fail_at({"rename": errors.Unusable("broken")})

    assert apply(shell, plan)[0] == 2

    failed = [each for each in journal(plan) if each.get("state") == "failed"]
    assert {each["why"] for each in failed} == {"unusable"}
    assert all("broken" in each["text"] for each in failed)


def test_undo_keeps_the_volumes_on_request(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)

    assert undo(shell, plan, "--keep-volumes")[0] == 0

    assert len(world.client.get("volumes").json()["volumes"]) == 1


def test_undo_of_failed_records_removes_them(shell: Shell, world: World, plan: str) -> None:
    world.fail_at({"rename": errors.Unusable("broken")})
    apply(shell, plan)

    assert undo(shell, plan, "--only", "failed")[0] == 0

    assert snapshots(world) == []


def test_too_many_errors_stop_the_command(shell: Shell, world: World, plan: str) -> None:
    refused_names(plan, 2, 5)

    ended = shell.run("apply", plan, "--yes", "--parallel", "1", "--max-errors", "1")

    assert ended.returncode == 2
    assert "2 entries have failed, more than --max-errors" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "0 managed, 2 failed, 0 undone, 0 in progress, 1 not sent"


def test_apply_without_a_wait_ends_when_every_entry_is_accepted(shell: Shell, world: World, plan: str) -> None:
    with world.hang_at("rename"):
        code, line = apply(shell, plan, "--no-wait")
        assert code == 0, line
        assert not line.startswith("3 managed")

    assert apply(shell, plan)[0] == 0


def test_apply_ends_after_its_timeout_and_continues(shell: Shell, world: World, plan: str) -> None:
    with world.hang_at("rename"):
        ended = shell.run("apply", plan, "--yes", "--timeout", "3")
        assert ended.returncode == 3
        assert ended.stderr.splitlines()[-1] == f"not finished after 3 seconds; continue with: snapmanage apply {plan}"

    assert apply(shell, plan)[0] == 0
    assert len(snapshots(world)) == 3


def test_repeat_on_a_plain_service_first_waits_for_the_earlier_requests(plain_shell: Shell, plain_world: World) -> None:
    plan = make_plan(plain_shell)
    whole = Path(plan).read_text()
    refused_names(plan, 2, 3)
    with plain_world.hang_at("rename"):
        apply(plain_shell, plan, "--no-wait")
        Path(plan).write_text(whole)

        assert apply(plain_shell, plan, "--timeout", "3")[0] == 3

        assert len(snapshots(plain_world)) == 2
    assert apply(plain_shell, plan)[0] == 0
    assert len(snapshots(plain_world)) == 3


def test_failed_volume_of_a_plain_service_is_named_by_its_record(plain_shell: Shell, plain_world: World) -> None:
    plan = make_plan(plain_shell)
    plain_world.fail_at({"find": errors.Unusable("broken")})

    assert apply(plain_shell, plan)[0] == 2

    [volume] = plain_world.client.get("volumes").json()["volumes"]
    text = f"volume volume-1: its record {volume['id']} is in error; the service's log has the reason"
    assert [each["text"] for each in journal(plan) if each.get("why") == "volume_failed"] == [text] * 3


def test_interrupted_apply_says_how_to_continue(shell: Shell, world: World, plan: str) -> None:
    with world.hang_at("rename"):
        process = shell.daemon("apply", plan, "--yes", "--log-json")
        process.log = shell.folder / "log"
        process.launch()
        until(lambda: '"phase": "waiting"' in process.log.read_text(), "the command to wait")
        process.send(signal.SIGINT)
        assert process.await_exit() == 130

    assert f"continue with: snapmanage apply {plan}" in process.log.read_text()
    assert apply(shell, plan)[0] == 0


@pytest.mark.parametrize("words", [["apply", "{}", "--parallel", "x"], ["apply", "{}", "--os-cloud"], ["carry", "{}"]])
def test_wrong_words_are_told_from_failed_entries(shell: Shell, world: World, plan: str, words: list[str]) -> None:
    ended = shell.run(*(word.format(plan) for word in words))

    assert ended.returncode == 1
    assert "snapmanage" in ended.stderr.splitlines()[-1]
    assert snapshots(world) == []


def test_plugin_of_openstack_tells_wrong_words_from_failed_entries(shell: Shell, plan: str) -> None:
    words = ["snapshot", "adopt", "apply", plan, "--parallel", "x"]

    assert run("openstack", *words, is_warm=False, **shell.environment).returncode == 1


def test_nothing_starts_without_a_yes(shell: Shell, world: World, plan: str) -> None:
    ended = shell.run("apply", plan)

    assert ended.returncode == 1
    assert "nothing was started; type yes, pipe it" in ended.stderr
    assert (snapshots(world), names(world)) == ([], set(NAMES))


def test_yes_can_be_piped(shell: Shell, world: World, plan: str) -> None:
    for command, managed in (("apply", 3), ("undo", 0)):
        argv = [str(FOLDER / "snapmanage"), command, plan]
        environment = os.environ | shell.environment
        subprocess.run(argv, env=environment, input="yes\n", text=True, capture_output=True, check=True)
        assert len(snapshots(world)) == managed


def test_plan_of_another_project_is_refused(shell: Shell, world: World, plan: str) -> None:
    other = Shell(world.another_client("f" * 32), shell.folder)

    ended = other.run("apply", plan, "--yes")

    assert ended.returncode == 1
    assert "the plan was made for" in ended.stderr


def test_two_commands_do_not_work_on_one_plan_at_once(shell: Shell, world: World, plan: str) -> None:
    with world.hang_at("rename"):
        process = shell.daemon("apply", plan, "--yes", "--log-json")
        process.log = shell.folder / "log"
        process.launch()
        until(lambda: '"phase": "waiting"' in process.log.read_text(), "the command to wait")

        ended = shell.run("apply", plan, "--yes")

        assert ended.returncode == 1
        assert "another command works on" in ended.stderr
        process.kill()


@pytest.fixture
def linked(plan: str, tmp_path: Path) -> Path:
    """Put a link to another file at the place of the journal."""
    target = tmp_path / "target"
    target.write_text("precious\n")
    os.symlink(target, f"{plan}.journal")
    return target


def test_journal_follows_no_link(shell: Shell, world: World, plan: str, linked: Path) -> None:
    ended = shell.run("apply", plan, "--yes")

    assert (ended.returncode, linked.read_text()) == (1, "precious\n")
    assert "can't be opened" in ended.stderr
    assert snapshots(world) == []


def test_apply_continues_when_the_server_is_enabled_again(shell: Shell, world: World, plan: str) -> None:
    body = {"host": SERVER, "binary": "cinder-volume", "disabled_reason": "array swap"}
    world.client.request("PUT", "os-services/disable-log-reason", json=body)

    code, line = apply(shell, plan)

    assert (code, "is disabled: array swap; start or enable the server; continue with" in line) == (3, True)
    world.client.request("PUT", "os-services/enable", json={"host": SERVER, "binary": "cinder-volume"})
    assert apply(shell, plan)[0] == 0
