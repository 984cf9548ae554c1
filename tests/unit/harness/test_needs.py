"""Where the tests look for the programs that they need."""

from pathlib import Path

from snapmanage.testing.needs import newest_first


def test_newest_postgresql_of_the_machine_is_taken_and_what_is_no_version_is_left() -> None:
    folders = [Path(f"/usr/lib/postgresql/{version}/bin") for version in ("9", "17", "common", "15")]

    assert [folder.parent.name for folder in newest_first(folders)] == ["17", "15", "9"]
