"""The changelog has each kind of change of a release once; a merge of branches keeps the lines of both."""

from collections import Counter
from pathlib import Path

import pytest

import snapmanage

TEXT = (Path(snapmanage.__file__).parents[1] / "CHANGELOG.md").read_text()
RELEASES = {text.partition("]")[0]: text for text in TEXT.split("\n## [")[1:]}
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


@pytest.mark.parametrize("release", RELEASES)
def test_release_has_each_kind_of_change_once_in_the_usual_order(release: str) -> None:
    sections = [line.removeprefix("### ") for line in RELEASES[release].splitlines() if line.startswith("### ")]

    assert sections == [kind for kind in KINDS if kind in sections]


@pytest.mark.parametrize("release", RELEASES)
def test_release_has_no_point_twice(release: str) -> None:
    """Two points with the same beginning are one that a branch has changed."""
    beginnings = Counter(line[:60] for line in RELEASES[release].splitlines() if line.startswith("- "))

    assert [each for each, count in beginnings.items() if count > 1] == []
