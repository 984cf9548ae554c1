"""Quotas: how many snapshots, gigabytes, volumes and failed records a project may have."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core import lifecycle, quotas
from snapmanage.core.quotas import KINDS, NO_LIMIT, UNLIMITED, Limits, ProjectQuota, Usage
from snapmanage.core.records import Snapshot
from tests import examples

COUNTS = st.integers(min_value=0, max_value=1000)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS)
LIMITS = st.builds(Limits, COUNTS, COUNTS, COUNTS, COUNTS)
MORE = Usage(snapshots=1, gigabytes=5)


def requested(size_gb: int | None, **fields: object) -> Snapshot:
    """Return a snapshot that counts with the size of its volume."""
    return replace(lifecycle.request(examples.snapshot(size_gb=size_gb)), **fields)  # type: ignore[arg-type]


def found(snapshot: Snapshot, size_gb: int | None) -> Snapshot:
    """Return the snapshot with its real size."""
    return replace(snapshot, size_gb=size_gb, identity_key="e" * 64)


@pytest.mark.parametrize(
    ("used", "limits"),
    [
        (Usage(9, 95), Limits(10, 100)),
        (Usage(9, 10_000), Limits(10, UNLIMITED)),
        (Usage(10_000, 95), Limits(UNLIMITED, 100)),
        (Usage(10_000, 10_000, 10_000, 10_000), NO_LIMIT),
        (Usage(volumes=5, failed_records=5), Limits(volumes=4, failed_records=4)),
    ],
)
def test_request_that_exactly_reaches_the_quota_is_accepted(used: Usage, limits: Limits) -> None:
    quotas.check(used, limits, MORE)


@pytest.mark.parametrize(
    ("used", "limits", "more", "what"),
    [
        (Usage(10, 0), Limits(10, 100), MORE, "snapshots: 10 of 10 are in use and 1 more"),
        (Usage(0, 0), Limits(0, UNLIMITED), MORE, "snapshots: 0 of 0"),
        (Usage(0, 96), Limits(10, 100), MORE, "gigabytes: 96 of 100 are in use and 5 more requested; unmanage"),
        (Usage(0, 0), Limits(UNLIMITED, 4), MORE, "gigabytes: 0 of 4"),
        (Usage(12, 0), Limits(10, 100), MORE, "snapshots: 12 of 10"),
        (
            Usage(volumes=2),
            Limits(volumes=2),
            quotas.ONE_VOLUME,
            "volumes: 2 of 2.*unmanage volumes .* or request a higher quota",
        ),
        (Usage(failed_records=7), Limits(failed_records=7), quotas.ONE_FAILED_RECORD, "failed_records: 7 of 7.*purge"),
    ],
)
def test_request_above_the_quota_is_refused_with_the_numbers(
    used: Usage, limits: Limits, more: Usage, what: str
) -> None:
    with pytest.raises(errors.QuotaExceeded, match=what):
        quotas.check(used, limits, more)


@given(used=USAGES, limits=LIMITS, more=USAGES)
def test_accepted_request_stays_within_the_limit(used: Usage, limits: Limits, more: Usage) -> None:
    after = used.plus(more)
    fits = all(getattr(after, kind) <= getattr(limits, kind) for kind in KINDS if getattr(more, kind))
    try:
        quotas.check(used, limits, more)
    except errors.QuotaExceeded:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    ("own", "allowed"),
    [
        (ProjectQuota("p"), Limits(10, 100, 5, 6)),
        (ProjectQuota("p", snapshots=3), Limits(3, 100, 5, 6)),
        (ProjectQuota("p", gigabytes=0, volumes=0), Limits(10, 0, 0, 6)),
        (ProjectQuota("p", 11, UNLIMITED, failed_records=UNLIMITED), Limits(11, UNLIMITED, 5, UNLIMITED)),
    ],
)
def test_quota_of_a_project_overrides_the_default(own: ProjectQuota, allowed: Limits) -> None:
    assert own.over(Limits(10, 100, 5, 6)) == allowed


@pytest.mark.parametrize(
    ("limits", "before", "size_gb", "refused"),
    [
        (Limits(gigabytes=9), requested(1), 5, False),
        (Limits(gigabytes=8), requested(1), 5, True),
        (Limits(gigabytes=4), requested(5), 5, False),  # the limit was lowered, the snapshot hasn't grown
        (Limits(gigabytes=0), requested(5), 2, False),
        (Limits(gigabytes=4), requested(None), None, False),
        (Limits(gigabytes=4), requested(None), 1, True),
        (Limits(snapshots=0), requested(5), 5, False),
        (Limits(snapshots=1), requested(5, reference_key=None), 5, True),  # a cast of an upstream API
        (Limits(snapshots=2), requested(5, reference_key=None), 5, False),
    ],
)
def test_real_size_of_a_snapshot_is_checked_beside_the_others(
    limits: Limits, before: Snapshot, size_gb: int | None, refused: bool
) -> None:
    others = Usage(snapshots=1, gigabytes=4)

    refusals = quotas.oversized(others.plus(quotas.usage_of(before)), limits, [(before, found(before, size_gb))])

    assert bool(refusals) == refused


@given(sizes=st.lists(st.tuples(COUNTS, COUNTS), max_size=6), limit=COUNTS)
def test_snapshots_that_are_not_refused_fit_together(sizes: list[tuple[int, int]], limit: int) -> None:
    pairs = [
        (requested(volume, id=f"{n}"), found(requested(None, id=f"{n}"), real))
        for n, (volume, real) in enumerate(sizes)
    ]
    granted = sum(volume for volume, _ in sizes)

    refusals = quotas.oversized(Usage(len(sizes), granted), Limits(gigabytes=limit), pairs)

    assert total(pairs, refusals) <= max(limit, granted)


def total(pairs: list[tuple[Snapshot, Snapshot]], refusals: Mapping[str, object]) -> int:
    return sum(after.size_gb or 0 for _, after in pairs if after.id not in refusals)
