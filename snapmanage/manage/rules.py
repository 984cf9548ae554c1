"""The options that the use cases follow, as a value."""

from dataclasses import dataclass, field
from datetime import timedelta

from snapmanage.core.origins.patterns import Origins
from snapmanage.core.origins.table import KNOWN
from snapmanage.core.quotas import NO_LIMIT, Limits
from snapmanage.core.values.retry import Retry


@dataclass(frozen=True)
class Rules:
    """The configuration of operations; `snapmanage.conf` explains each option."""

    lease: timedelta = timedelta(seconds=60)
    retry: Retry = field(default_factory=lambda: Retry(5, timedelta(seconds=1), timedelta(seconds=60)))
    service_down: timedelta = timedelta(seconds=60)
    quota: Limits = NO_LIMIT
    name_template: str = "snapshot-%s"
    both_dialects: bool = False
    idempotency_key_ttl: timedelta = timedelta(days=1)
    # Whether outcomes of an upstream API's requests are reported to it.
    report_upstream: bool = False
    origins: Origins = KNOWN
