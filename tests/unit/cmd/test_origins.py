"""The file of `[DEFAULT] origins_file`: how it is read, and the texts of its errors."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.cmd.wiring import origins
from snapmanage.core.origins.table import BUILT_IN

NIGHTLY = "origins: [{tool: nightly, names: 'nightly-*', rename: warn, why: a script needs it}]"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "origins.yaml"


def test_patterns_of_the_file_are_added(file: Path) -> None:
    file.write_text(NIGHTLY)

    found = origins.load(str(file)).recognise("disk@nightly-1", "disk", "rbd")

    assert found is not None
    assert found.tool == "nightly"


def test_without_a_file_the_built_in_tools_are_known() -> None:
    assert origins.load(None).patterns == BUILT_IN


@pytest.mark.parametrize("content", ["", "# nothing\n", "origins:\n"])
def test_empty_file_adds_nothing(file: Path, content: str) -> None:
    file.write_text(content)

    assert origins.load(str(file)).patterns == BUILT_IN


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("origins: [", "it isn't YAML as this file needs it: while parsing"),
        ("a: &x 1\nb: *x", "it has an alias (*NAME); write the value again"),
        ("origins: []\norigins: []", "the key 'origins' is there twice; keep one of them"),
        (NIGHTLY.replace("rename: warn", "rename: warn, rename: safe"), "the key 'rename' is there twice"),
        ("!!python/object/apply:os.system ['true']", "it isn't YAML as this file needs it: could not determine"),
        ("\0", "it isn't YAML"),
        ("[" * 5000, "it isn't YAML"),
        ("? [a]\n: b", "it isn't YAML"),
        ("? {a: b}\n: c", "it isn't YAML"),
        ("2026-13-45", "it isn't YAML"),
        (NIGHTLY.replace("warn", "maybe"), "entry 1 of origins (nightly): rename must be one of safe, warn, refuse"),
        (NIGHTLY.replace("'nightly-*'", "2026-01-01"), "entry 1 of origins (nightly): names must be a text, or a list"),
        ("#" * (256 * 1024 + 1), "it has more than 256 KiB; shorten it"),
    ],
)
def test_error_names_the_option_the_file_and_the_remedy(file: Path, content: str, text: str) -> None:
    file.write_text(content)

    with pytest.raises(errors.ConfigurationError) as refusal:
        origins.load(str(file))

    assert str(refusal.value).startswith(f"[DEFAULT] origins_file '{file}': ")
    assert text in str(refusal.value)


@pytest.mark.parametrize("name", ["missing.yaml", "", "\0"])
def test_file_that_can_t_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="it can't be read"):
        origins.load(f"{tmp_path}/{name}")


def test_file_that_is_not_utf_8_is_an_error(file: Path) -> None:
    file.write_bytes(b"origins: [\xff]")

    with pytest.raises(errors.ConfigurationError, match="isn't YAML"):
        origins.load(str(file))


def test_times_of_tools_are_in_the_zone_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")

    found = origins.load(None).recognise("v@autosnap_2026-07-30_10:00:00_daily", "v", "zfs")

    assert found is not None
    assert found.created_at == datetime(2026, 7, 30, 4, 30, tzinfo=UTC)


def test_host_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(origins, "LOCAL_TIME", tmp_path / "missing")
    assert origins.local_zone() is UTC
    monkeypatch.setenv("TZ", "Nowhere/Land")
    assert origins.local_zone() is UTC
