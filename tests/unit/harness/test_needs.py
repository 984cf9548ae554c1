"""The tests find the programs that they need."""

from pathlib import Path

from tests.needs import newest_first


def test_newest_postgresql_comes_first_and_other_folders_are_ignored() -> None:
    folders = [Path(f"/usr/lib/postgresql/{version}/bin") for version in ("9", "17", "common", "15")]

    assert [folder.parent.name for folder in newest_first(folders)] == ["17", "15", "9"]
