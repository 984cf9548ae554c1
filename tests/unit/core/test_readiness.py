"""The text of a probe's answer names each check, and shows no password."""

import pytest

from snapmanage.core.readiness import Check, in_one_line, report, together


def test_each_check_has_a_line_in_the_format_of_kubernetes() -> None:
    text = report([Check("database"), Check("broker", "the broker can't be reached")], "readyz")

    assert text.splitlines() == [
        "[+]database ok",
        "[-]broker failed: the broker can't be reached",
        "readyz check failed",
    ]


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("can't reach amqp://user:wonder@h:1/", "can't reach amqp://***@h:1/"),
        ("Login failed, password=wonder, user=a", "Login failed, password=*** user=a"),
        ("token: wonder", "token: ***"),
        ("first\nwonder", "first"),
        ("a\x1bb", "a\\x1bb"),
        (400 * "a", 300 * "a" + "…"),
    ],
)
def test_problem_is_one_short_line_without_passwords(problem: str, shown: str) -> None:
    assert in_one_line(problem) == shown


def test_service_of_several_processes_is_fine_only_if_each_one_is() -> None:
    fine, bad = [Check("database"), Check("broker")], [Check("database"), Check("broker", "away")]

    assert together([fine, bad, fine]) == bad
    assert together([fine, fine]) == fine
