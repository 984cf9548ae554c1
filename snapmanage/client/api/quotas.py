"""The quota of snapshots, if the service shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from snapmanage.client.api.http import Api


@dataclass(frozen=True)
class Quota:
    """The number of used snapshots, and the limit; -1 means no limit."""

    used: int
    limit: int

    def sentence(self, more: int) -> str:
        limit = "no limit" if self.limit < 0 else f"limit {self.limit}"
        return f"quota of snapshots: {self.used} used, {self.used + more} after it ({limit})"


def snapshots(api: Api) -> Quota | None:
    """Return the quota of the project; None if the service has none or does not show it to the caller."""
    project = api.project or api.endpoint.rpartition("/")[2]
    answer = api.send("GET", f"/os-quota-sets/{project}", query={"usage": "True"})
    shown = answer.body.get("quota_set") if answer.is_success else None
    found = shown.get("snapshots") if isinstance(shown, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get("limit"), int):
        return None
    return Quota(int(found.get("in_use") or 0), found["limit"])
