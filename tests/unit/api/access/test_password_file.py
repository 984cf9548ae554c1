"""The file of `http_basic`: its mode, and the hashes that it may hold."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.api.access import http_basic
from tests.unit.api.access.test_http_basic import file, is_refused, make_line, make_strategy, request_as

__all__ = ["file"]


def test_comments_and_empty_lines_are_ignored_and_the_first_line_of_a_user_is_used(file: Path) -> None:
    file.write_text(f"# ann: not a user\n\n  {make_line('ann')}{make_line('ann', 'second')}")
    strategy = make_strategy(file)

    assert not is_refused(strategy, request_as("ann"))
    assert is_refused(strategy, request_as("ann", "second"))
    assert is_refused(strategy, request_as("# ann", " not a user"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "names no user: write it with `htpasswd -B -C 12 FILE USER`"),
        (b"ann:$apr1$SALT$SECRETHASH\n", "has no user with a bcrypt hash in line 1"),
        (b"\nann:SECRETHASH\n", "in line 2"),
        (b"ann:$2y$10$tooshort\n", "in line 1"),
        (b"just words\n", "in line 1"),
        (make_line("").encode(), "in line 1"),
        (b"\xff\xfe", "can't be read"),
    ],
    ids=["empty", "another hash", "no hash", "short hash", "no colon", "no name", "no text"],
)
def test_error_for_an_unusable_file_names_the_reason_and_no_hash(file: Path, content: bytes, why: str) -> None:
    file.write_bytes(content)

    with pytest.raises(errors.ConfigurationError) as refusal:
        make_strategy(file)

    assert str(refusal.value).startswith(f"[oslo_middleware] http_basic_auth_user_file: {file} ")
    assert why in str(refusal.value)
    assert "SECRETHASH" not in str(refusal.value)


@pytest.mark.parametrize("name", ["missing", ""])
def test_missing_file_or_a_directory_in_its_place_is_a_configuration_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="can't be read"):
        make_strategy(tmp_path / name)


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o777])
def test_file_that_others_can_change_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(errors.ConfigurationError, match=rf"has mode {mode:04o}.* run `chmod 640 {file}`"):
        make_strategy(file)


def test_file_that_every_user_can_read_is_warned_of(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_strategy(file)
    assert caplog.text == ""

    file.chmod(0o644)
    make_strategy(file)

    assert f"run `chmod 640 {file}`" in caplog.text


@pytest.mark.parametrize("cost", [10, 14])
def test_hash_of_the_lowest_or_the_highest_cost_is_accepted(file: Path, cost: int) -> None:
    file.write_text(make_line("ann").replace("$04$", f"${cost:02}$"))

    assert http_basic.read_accounts(file).costs == {"ann": cost}


@pytest.mark.parametrize("cost", [5, 9, 15, 31])
def test_hash_that_is_guessed_fast_or_blocks_a_processor_is_refused(file: Path, cost: int) -> None:
    line = make_line("ann").replace("$04$", f"${cost:02}$")
    file.write_text(make_line("bob").replace("$04$", "$12$") + line)

    with pytest.raises(
        errors.ConfigurationError, match=rf"has a hash of cost {cost} in line 2, not 10 to 14: write it"
    ):
        http_basic.read_accounts(file)
