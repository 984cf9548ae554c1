"""The journal survives crashes, and the spool keeps order with little memory."""

import errno
import json
import os
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.client.plan import journal
from snapmanage.client.plan.cells import cell, guarded, text_of, unguarded
from snapmanage.client.plan.entries import Expect, Manage, Skip
from snapmanage.client.plan.journal import Outcome, State
from snapmanage.client.plan.spool import Spool, parts_of
from snapmanage.client.plan.tally import Tally

PLAN_ID = "a9ecfa26-be71-45a0-a7c2-ded158b1e476"
DONE = Outcome("s1", State.DONE, "id-1")
FAILED = Outcome("s2", State.FAILED, None, "quota_exceeded", "too many")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "plan.jsonl"


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)


def written(plan: Path, *outcomes: Outcome) -> Path:
    with journal.opened(plan, PLAN_ID) as opened:
        opened.write(outcomes, durable=True)
    return plan.with_name("plan.jsonl.journal")


def test_journal_remembers_the_last_outcome_of_each_entry(plan: Path) -> None:
    written(plan, Outcome("s1", State.SENDING), FAILED)
    written(plan, DONE)

    with journal.opened(plan, PLAN_ID) as opened:
        assert opened.latest == {"s1": DONE, "s2": FAILED}
    assert journal.read(plan, PLAN_ID) == {"s1": DONE, "s2": FAILED}


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_journal_that_a_crash_cut_off_is_continued(plan: Path, kept: int) -> None:
    path = written(plan, FAILED)
    os.truncate(path, kept)

    written(plan, DONE)

    assert journal.read(plan, PLAN_ID)["s1"] == DONE
    assert json.loads(path.read_text().splitlines()[0]) == {"plan": PLAN_ID}


def test_journal_of_another_plan_is_refused(plan: Path) -> None:
    written(plan, DONE)

    with pytest.raises(errors.InvalidRequest, match="belongs to the plan"), journal.opened(plan, "another"):
        pass


def test_journal_is_open_once(plan: Path) -> None:
    with (
        journal.opened(plan, PLAN_ID),
        pytest.raises(errors.InvalidRequest, match="another command works on"),
        journal.opened(plan, PLAN_ID),
    ):
        pass


def test_journal_is_private(plan: Path) -> None:
    assert written(plan, DONE).stat().st_mode & 0o777 == 0o600


def test_pipe_at_the_place_of_the_journal_is_refused(plan: Path) -> None:
    os.mkfifo(plan.with_name("plan.jsonl.journal"))

    with pytest.raises(errors.InvalidRequest, match="must be a file of this user"), journal.opened(plan, PLAN_ID):
        pass


def test_journal_that_cannot_be_written_names_its_file_and_the_reason(plan: Path, full_disk: None) -> None:
    with pytest.raises(errors.Unavailable, match=r"plan\.jsonl\.journal can't be written: No space left on device"):
        written(plan, DONE)


def test_other_file_at_the_place_of_the_journal_keeps_its_content(plan: Path) -> None:
    path = plan.with_name("plan.jsonl.journal")
    path.write_text("a letter\n")

    with pytest.raises(errors.InvalidRequest, match="is not the journal of a plan"), journal.opened(plan, PLAN_ID):
        pass

    assert path.read_text() == "a letter\n"


def test_spool_is_read_in_order_as_often_as_needed() -> None:
    values = [7, 3, 9, 1, 8, 2, 5]
    with Spool[int](key=lambda value: value, part=3) as spool:
        for value in values:
            spool.add(value)

        assert list(spool) == sorted(values)
        assert list(spool) == sorted(values)
        assert len(spool) == len(values)


def test_parts_hold_values_that_follow_one_another() -> None:
    assert list(parts_of(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(parts_of(iter(()), 2)) == []


@pytest.mark.parametrize("text", ["daily", "=1+1", "'=1", "''@x", "'quoted'", "-1", ""])
def test_guarded_cell_is_no_formula_and_keeps_its_text(text: str) -> None:
    assert not guarded(text).startswith(("=", "+", "-", "@"))
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "daily",
            "=1+1",
            "'=1",
            "two\nlines",
            "tab\t",
            "\r",
            "\0\x1b[31m",
            "bidi\u202e",
            "\U000e0001",
            "\udc80",
            "\xa0",
        ),
        *(
            "\\",
            "\\\\",
            "a\\n",
            "a\\\\n",
            "a\\\n",
            "C:\\new",
            "disk\\x2d1",
            "\\x1b",
            "\\xzz",
            "\\U00110000",
            "\n\\x2d",
            "",
        ),
    ],
)
def test_cell_is_one_printable_line_and_keeps_its_text(text: str) -> None:
    assert cell(text).isprintable()
    assert text_of(cell(text)) == text


@pytest.mark.parametrize("typed", ["daily", "C:\\work", "disk\\x2d1", "trailing\\", "50%\\U"])
def test_typed_cell_without_escapes_is_taken_literally(typed: str) -> None:
    assert text_of(typed) == typed


def test_tally_names_the_reasons_of_skipped_entries() -> None:
    tally = Tally()
    for why in ("orphan", "in_use", "orphan"):
        tally.add(Skip("h@b", {"source-name": "a"}, why, ""))

    assert tally.headline.endswith("3 skipped (2 orphan, 1 in_use)")


def test_tally_counts_what_changed_since_the_plan_and_leaves_out_what_is_nothing() -> None:
    tally = Tally(snapshots=1, volumes=2, size_gb=3)

    assert tally.headline == "1 snapshot to manage (3 GiB), 2 volumes to register"

    tally.changed = 1

    assert tally.headline.endswith(", 1 changed since the plan was made and not sent")


def test_tally_shows_forced_entries_and_no_new_name_without_the_id() -> None:
    tally = Tally()
    for number, metadata in enumerate(({"snapmanage:force": "true"}, {"origin": "sanoid"})):
        tally.add(
            Manage(
                key=f"s{number}",
                volume="v1",
                host="h@b",
                reference={"source-name": "a@b"},
                name="b",
                expect=Expect(1, "a"),
                snapshot_id=PLAN_ID,
                renamed_to=("a@b", f"a@snapshot-{PLAN_ID}")[number],
                metadata=metadata,
            )
        )

    shown = list(tally.lines())

    assert "1 of them get new names even if their programs need the old ones (snapmanage:force)" in shown
    assert shown[-2:] == ["  a@b -> a name with the id of its record", f"  a@b -> a@snapshot-{PLAN_ID}"]
