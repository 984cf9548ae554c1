"""Quotas: how many snapshots and gigabytes a project may manage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core import quotas
from snapmanage.core.quotas import NO_LIMIT, UNLIMITED, Amount, ProjectQuota

COUNTS = st.integers(min_value=0, max_value=1000)


@pytest.mark.parametrize(
    ("used", "limit"),
    [
        (Amount(9, 95), Amount(10, 100)),
        (Amount(9, 10_000), Amount(10, UNLIMITED)),
        (Amount(10_000, 95), Amount(UNLIMITED, 100)),
        (Amount(10_000, 10_000), NO_LIMIT),
    ],
)
def test_request_that_exactly_reaches_the_quota_is_accepted(used: Amount, limit: Amount) -> None:
    quotas.check(used, limit, size_gb=5)


@pytest.mark.parametrize(
    ("used", "limit", "what"),
    [
        (Amount(10, 0), Amount(10, 100), "snapshots: 10 of 10 are in use and 1 more"),
        (Amount(0, 0), Amount(0, UNLIMITED), "snapshots: 0 of 0"),
        (Amount(0, 96), Amount(10, 100), "gigabytes: 96 of 100 are in use and 5 more"),
        (Amount(0, 0), Amount(UNLIMITED, 4), "gigabytes: 0 of 4"),
        (Amount(12, 0), Amount(10, 100), "snapshots: 12 of 10"),
    ],
)
def test_request_above_the_quota_is_refused_with_the_numbers(used: Amount, limit: Amount, what: str) -> None:
    with pytest.raises(errors.QuotaExceeded, match=what):
        quotas.check(used, limit, size_gb=5)


@given(used=st.builds(Amount, COUNTS, COUNTS), limit=st.builds(Amount, COUNTS, COUNTS), size_gb=COUNTS)
def test_accepted_request_stays_within_the_limit(used: Amount, limit: Amount, size_gb: int) -> None:
    fits = used.snapshots + 1 <= limit.snapshots and used.gigabytes + size_gb <= limit.gigabytes
    try:
        quotas.check(used, limit, size_gb)
    except errors.QuotaExceeded:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    ("own", "allowed"),
    [
        (ProjectQuota("p"), Amount(10, 100)),
        (ProjectQuota("p", snapshots=3), Amount(3, 100)),
        (ProjectQuota("p", gigabytes=0), Amount(10, 0)),
        (ProjectQuota("p", 11, UNLIMITED), Amount(11, UNLIMITED)),
    ],
)
def test_quota_of_a_project_overrides_the_default(own: ProjectQuota, allowed: Amount) -> None:
    assert own.over(Amount(10, 100)) == allowed
