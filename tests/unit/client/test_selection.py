"""The selectors choose snapshots by names, ages, sizes, origins and retention."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.client.plan.entries import Expect
from snapmanage.client.selection import durations
from snapmanage.client.selection.criteria import Criteria
from snapmanage.client.selection.found import Found
from snapmanage.client.selection.retention import Candidate, Retention, parse_keep
from snapmanage.client.work.selecting import Scans

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def found(name: str = "disk-1@daily", **fields: Any) -> Found:
    given: dict[str, Any] = {"size_gb": 3, "parent": "disk-1"}
    return Found("storage-1@fast", {"source-name": name}, **given | fields)


@pytest.mark.parametrize(
    ("criteria", "chosen"),
    [
        (Criteria(), True),
        (Criteria(names=("daily",)), True),
        (Criteria(names=("disk-1@*",)), True),
        (Criteria(names=("weekly", "dai*")), True),
        (Criteria(names=("weekly",)), False),
        (Criteria(name_regex="@d"), True),
        (Criteria(excluded=("daily",)), False),
        (Criteria(volumes=("disk-?",)), True),
        (Criteria(volumes=("disk",)), False),
        (Criteria(min_size=3, max_size=3), True),
        (Criteria(min_size=4), False),
        (Criteria(max_size=2), False),
        (Criteria(origins=("sanoid",)), False),
        (Criteria(orphans=True), False),
        (Criteria(before=NOON), False),
    ],
)
def test_snapshot_is_chosen_if_it_passes_all_selectors(criteria: Criteria, chosen: bool) -> None:
    assert criteria.passes(found()) is chosen


def test_times_are_exclusive() -> None:
    at_noon = found(created_at=NOON)

    assert not Criteria(before=NOON).passes(at_noon)
    assert not Criteria(after=NOON).passes(at_noon)
    assert Criteria(before=NOON + timedelta(seconds=1), after=NOON - timedelta(seconds=1)).passes(at_noon)


def test_origin_and_class_are_compared_with_the_extra_information() -> None:
    entry = {"reference": {"source-name": "a"}, "extra_info": {"origin": "sanoid", "origin-class": "daily"}}

    assert Criteria(origins=("sanoid",), classes=("hourly", "daily")).passes(Found.of("h@b", entry))


def test_case_of_origin_and_class_does_not_count() -> None:
    daily = found(origin="TrueNAS", origin_class="Daily")

    assert Criteria(origins=("sanoid", "truenas"), classes=("DAILY",)).passes(daily)
    assert not Criteria(origins=("truenas",)).passes(found())


def test_case_of_names_counts() -> None:
    assert not Criteria(names=("DAILY",)).passes(found())
    assert Criteria(names=("d[a-c]ily",)).passes(found())


def test_criteria_survive_the_first_line_of_a_plan() -> None:
    criteria = Criteria(("a",), "b", ("c",), ("d",), NOON, NOON, 1, 2, ("e",), ("f",), True, Retention(3, {"daily": 7}))

    assert Criteria.of_json(criteria.as_json()) == criteria
    assert Criteria.of_json(Criteria().as_json()) == Criteria()


def copied(name: str, made_at: datetime) -> Found:
    """Return a snapshot that was copied at noon, as the service shows it."""
    return Found.of(
        "storage-1@files",
        {
            "reference": {"source-name": name},
            "source_reference": {"source-name": "disk-1"},
            "snapmanage:created_at": "2026-11-01T12:00:00.000000",
            "extra_info": {"origin": "sanoid", "origin-created-at": made_at.isoformat()},
        },
    )


def test_age_of_a_copy_is_the_one_that_its_program_has_noted() -> None:
    yesterday = copied("disk-1@a", NOON - timedelta(days=1))

    assert Criteria(before=NOON - timedelta(hours=23)).passes(yesterday)
    assert not Criteria(after=NOON - timedelta(hours=23)).passes(yesterday)
    assert (yesterday.created_at, Expect.of(yesterday).created_at) == (NOON, NOON.isoformat())


def test_copies_are_kept_by_the_times_that_their_program_has_noted() -> None:
    entries = [copied(f"disk-1@{days}", NOON - timedelta(days=days)) for days in range(30)]
    scans = Scans(entries, {})  # type: ignore[arg-type]

    chosen = scans.selected(Criteria(retention=Retention(keep={"daily": 2, "weekly": 1})))

    assert [each.own_name for each in chosen] == ["0", "1"]


def candidates(hours: int, group: str = "a") -> list[Candidate]:
    """Return a snapshot of each of the last hours before noon, the oldest first."""
    return [Candidate(f"{group}{hour}", group, NOON - timedelta(hours=hour)) for hour in reversed(range(hours))]


def test_latest_chooses_the_newest_of_each_volume() -> None:
    assert Retention(latest=2).chosen([*candidates(5), *candidates(1, "b")]) == {"a0", "a1", "b0"}


def test_keep_chooses_the_newest_of_each_period() -> None:
    assert Retention(keep={"daily": 2}).chosen(candidates(72)) == {"a0", "a13"}
    assert Retention(keep={"daily": 1, "weekly": 2}).chosen(candidates(72)) == {"a0"}


def test_snapshot_without_a_time_is_the_oldest() -> None:
    assert Retention(latest=1).chosen([Candidate("b", "v", None), Candidate("a", "v", NOON)]) == {"a"}
    assert Retention(keep={"daily": 1}).chosen([Candidate("b", "v", None)]) == set()


@pytest.mark.parametrize("text", ["daily", "daily=x", "daily=-1", "fortnightly=2", ""])
def test_keep_without_a_meaning_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="--keep must be PERIOD=NUMBER"):
        parse_keep(text)


def test_ages_have_units() -> None:
    assert durations.age("--older-than", "30d") == timedelta(days=30)
    assert durations.before("--older-than", "2w", NOON) == NOON - timedelta(days=14)


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1 month", "999999999y"])
def test_age_without_a_meaning_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="--older-than must be a number with a unit"):
        durations.age("--older-than", text)


def test_age_before_the_year_1_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="before the year 1"):
        durations.before("--older-than", "2100y", NOON)
