"""The check of the prose: free relatives are counted, phrases of the dialect are rejected, code is skipped."""

from pathlib import Path

import pytest

from tools import prose
from tools.prose import Rules

RULES = Rules(most_relatives=2, phrases={"(put|puts) aside": "write 'quarantine'", "stumbled": "write 'fail'"})
FILLER = "The relay sends a message. "


def complaints(tmp_path: Path, name: str, text: str) -> list[str]:
    """Check one file and return the complaints, each with the file's name instead of its path."""
    path = tmp_path / name
    path.write_text(text)
    return [
        line.replace(f"{tmp_path}/", "")
        for pieces in prose.units([tmp_path]).values()
        for line in prose.complaints(pieces, RULES)
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"""The relay stumbled."""\n', 1),
        ('def send():\n    """Send.\n\n    The relay stumbled."""\n', 4),
        ("SENT = 1\n# The relay stumbled.\n", 2),
        ("SENT = 1  # The relay Stumbled.\n", 1),
    ],
    ids=["docstring of a module", "docstring of a function", "comment", "comment behind code"],
)
def test_phrase_is_rejected_in_the_prose_of_python(tmp_path: Path, text: str, line: int) -> None:
    [complaint] = complaints(tmp_path, "relay.py", text)

    assert complaint.lower() == f"relay.py:{line}: 'stumbled': write 'fail'"


def test_phrase_is_found_across_the_end_of_a_line(tmp_path: Path) -> None:
    assert complaints(tmp_path, "relay.py", "# The relay puts\n# aside the message.\n") == [
        "relay.py:1: 'puts aside': write 'quarantine'"
    ]


def test_part_of_a_word_is_no_phrase(tmp_path: Path) -> None:
    assert complaints(tmp_path, "page.md", "The relay inputs aside.\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "Call `stumbled` or ``stumbled``.\n",
        "```python\nstumbled = who\n```\n",
        "See [the page](stumbled.md), or https://example.org/stumbled\n",
        "<!-- stumbled -->\n",
        "<!-- prose: off -->\nThe relay stumbled.\n<!-- prose: on -->\n",
    ],
    ids=["inline code", "fenced code", "targets of links", "comment", "quoted prose"],
)
def test_code_and_quotations_in_markdown_are_skipped(tmp_path: Path, text: str) -> None:
    assert complaints(tmp_path, "page.md", text) == []


def test_prose_behind_skipped_text_keeps_its_line(tmp_path: Path) -> None:
    text = "```\nstumbled\n```\n<!-- prose: off -->\nstumbled\n<!-- prose: on -->\nThe relay stumbled.\n"

    assert complaints(tmp_path, "page.md", text) == ["page.md:7: 'stumbled': write 'fail'"]


def test_strings_of_the_code_are_no_prose(tmp_path: Path) -> None:
    assert complaints(tmp_path, "relay.py", 'REASON = "stumbled"\n') == []


def test_a_short_text_may_have_one_free_relative(tmp_path: Path) -> None:
    assert complaints(tmp_path, "page.md", "Retry whatever failed.\n") == []


def test_two_free_relatives_in_a_short_text_are_reported_with_their_lines(tmp_path: Path) -> None:
    assert complaints(tmp_path, "page.md", "Retry what failed.\nNobody waits.\n") == [
        "page.md:1: 'what': one of 2 free relatives in 5 words; at most 1 may stay",
        "page.md:2: 'Nobody': one of 2 free relatives in 5 words; at most 1 may stay",
    ]


def test_a_long_text_may_have_two_free_relatives_in_a_thousand_words(tmp_path: Path) -> None:
    assert complaints(tmp_path, "page.md", FILLER * 200 + "Retry what failed, whoever sent it.\n") == []


def test_python_files_of_one_folder_are_counted_together(tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text("# Retry what failed.\n")

    assert len(complaints(tmp_path, "worker.py", "# Retry what failed.\n")) == 2


def test_files_of_two_folders_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    (tmp_path / "bus" / "relay.py").write_text("# Retry what failed.\n")

    assert complaints(tmp_path, "worker.py", "# Retry what failed.\n") == []


def test_command_fails_with_the_complaints_of_the_named_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text("The relay stumbled.\n")

    assert prose.main([str(tmp_path)]) == 1
    assert "page.md:1: 'stumbled': write 'fail'" in capsys.readouterr().out


def test_command_refuses_a_path_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prose.main([str(tmp_path / "gone")])

    assert "no such file or folder" in capsys.readouterr().err


def test_checked_prose_of_this_repository_follows_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prose.ROOT)

    assert prose.main([]) == 0
