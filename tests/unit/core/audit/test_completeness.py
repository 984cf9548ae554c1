"""The generations of a snapshot's events are compared with those that its record announced."""

from typing import Any

import pytest

from snapmanage.core.audit import completeness
from snapmanage.core.audit.completeness import History, Step
from snapmanage.core.audit.generations import Generations

STEP_NAMES = ("start", "end")


def history(*generations: int, **fields: Any) -> History:
    names = [STEP_NAMES[g % 2] if g else "error" for g in generations]
    steps = [Step(number, f"snapshot.manage.{names[number - 1]}", g) for number, g in enumerate(generations, 1)]
    return History("s", steps, **fields)


def found(history: History) -> list[str]:
    before = {number: history.steps[number - 1].generation - 1 for number in completeness.unexplained(history)}
    return [f"{each.kind.value} {each.text}" for each in completeness.findings(history, before)]


@pytest.mark.parametrize(
    ("known", "texts"),
    [
        (history(), []),
        (history(0), []),
        (history(announced=0), []),
        (history(0, announced=0), []),
        (history(1, 2, announced=2), []),
        (history(2, announced=2), ["INCOMPLETE snapshot s: generation 1 is missing before row 1"]),
        (
            history(1, announced=3),
            [
                "INCOMPLETE snapshot s: generation 3, which the record announced last, is missing; "
                "the last recorded one is 1"
            ],
        ),
        (
            history(announced=3),
            ["INCOMPLETE snapshot s: generation 3, which the record announced last, is missing; none is recorded"],
        ),
        (
            history(announced=3, recent=True),
            ["NOTE snapshot s: generation 3 is not yet recorded: it was announced lately"],
        ),
        (
            history(announced=3, waiting={3}),
            ["NOTE snapshot s: generation 3 is not yet recorded: it waits in the outbox"],
        ),
        (
            history(1, 2, announced=1),
            ["FORGED snapshot s: row 2 has generation 2, but the record announced only up to 1"],
        ),
        (
            history(1),
            ["FORGED snapshot s: the database has no record of the snapshot, so it did not announce row 1"],
        ),
        (history(announced=4, purged=Generations.parse("1-4")), []),
        (history(3, 4, announced=4, purged=Generations.parse("1-2")), []),
        (history(1, 4, announced=4, purged=Generations.parse("2-3")), []),
        (
            history(4, announced=4, purged=Generations.parse("1-2")),
            ["INCOMPLETE snapshot s: generation 3 is missing before row 1"],
        ),
        (
            history(announced=4, purged=Generations.parse("1-2")),
            [
                "INCOMPLETE snapshot s: generation 4, which the record announced last, is missing; "
                "the last recorded one is 2"
            ],
        ),
    ],
)
def test_history_is_compared_with_the_announced_generation(known: History, texts: list[str]) -> None:
    assert found(known) == texts


def test_event_of_an_older_release_is_complete_with_the_generation_that_it_names() -> None:
    known = history(2, 5, announced=5)

    assert completeness.unexplained(known) == [1, 2]
    assert list(completeness.findings(known, {1: None, 2: 2})) == []


@pytest.mark.parametrize("announced", [None, 2])
def test_success_that_has_the_generation_of_a_rejected_request_is_forged(announced: int | None) -> None:
    forged = History("s", [Step(7, "snapshot.manage.end", 0)], announced=announced, waiting={2})

    texts = found(forged)

    assert "FORGED snapshot s: row 7 has generation 0, which only the error of a rejected request has" in texts
