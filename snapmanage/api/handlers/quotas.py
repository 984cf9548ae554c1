"""Handlers of quota sets and limits.

The kinds of the Block Storage API that snapmanage does not have are shown without a limit and without usage.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

from snapmanage import errors
from snapmanage.api import schemas, versions
from snapmanage.api.defaults import TYPE_NAME
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.core.quotas import KINDS, UNLIMITED, Limits, Usage
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import cut
from snapmanage.manage import quotas

LOG = logging.getLogger(__name__)

# The kinds of the Block Storage API, and for each the kind here.
SHOWN: Mapping[str, str | None] = {
    "volumes": "volumes",
    "per_volume_gigabytes": None,
    "snapshots": "snapshots",
    "gigabytes": "gigabytes",
    "backups": None,
    "backup_gigabytes": None,
    f"volumes_{TYPE_NAME}": None,
    f"gigabytes_{TYPE_NAME}": None,
    f"snapshots_{TYPE_NAME}": None,
    "groups": None,
    "failed_records": "failed_records",
}
# Keys that clients send beside the limits.
_NO_LIMITS = ("id", "tenant_id")
LARGEST_LIMIT = 2**31 - 1
# MariaDB takes ids for equal that differ in blanks at their ends.
PROJECT = "^[!-~]{1,255}$"


def show(request: ApiRequest) -> Answer:
    """Handle `GET /os-quota-sets/{target_project_id}`: the limits, with `usage=true` the usage too."""
    project_id = _target(request)
    own, used = quotas.of_project(request.service.app.db, project_id)
    limits = own.over(request.service.app.rules.quota)
    if not schemas.boolean(request.parameters, "usage"):
        return _quota_set(limits, id=project_id)
    usage = {
        name: {"limit": getattr(limits, kind), "in_use": getattr(used, kind), "reserved": 0}
        if kind
        else {"limit": UNLIMITED, "in_use": 0, "reserved": 0}
        for name, kind in SHOWN.items()
    }
    return Answer(200, {"quota_set": usage | {"id": project_id}})


def defaults(request: ApiRequest) -> Answer:
    """Handle `GET /os-quota-sets/{target_project_id}/defaults`: the section `[quota]` of the configuration."""
    return _quota_set(request.service.app.rules.quota, id=_target(request))


def update(request: ApiRequest) -> Answer:
    """Handle `PUT /os-quota-sets/{target_project_id}`: the limits that it does not name stay."""
    project_id, db = _target(request), request.service.app.db
    wanted = _limits(request.body["quota_set"])
    if schemas.boolean(request.parameters, "skip_validation") is False:
        _require_above_usage(wanted, quotas.of_project(db, project_id)[1])
    if wanted:
        quotas.change(db, project_id, wanted)
        LOG.info("Quota changed: %s", fields(project=project_id, **wanted))
    own, _ = quotas.of_project(db, project_id)
    return _quota_set(own.over(request.service.app.rules.quota))


def delete(request: ApiRequest) -> Answer:
    """Handle `DELETE /os-quota-sets/{target_project_id}`: the defaults hold again."""
    project_id = _target(request)
    quotas.change(request.service.app.db, project_id, dict.fromkeys(KINDS))
    LOG.info("Quota reset to the defaults: %s", fields(project=project_id))
    return Answer(200)


def limits(request: ApiRequest) -> Answer:
    """Handle `GET /limits`: the limits and the usage of the caller's project."""
    schemas.boolean(request.parameters, "reserved")  # refuses another value; a true one has no effect
    project_id = request.caller.requester.project_id
    if request.everywhere and request.version >= versions.LIMITS_OF_A_PROJECT:
        project_id = request.parameters.get("project_id") or request.parameters.get("tenant_id") or project_id
    own, used = quotas.of_project(request.service.app.db, project_id)
    allowed = own.over(request.service.app.rules.quota)
    absolute = {
        "maxTotalVolumes": allowed.volumes,
        "maxTotalSnapshots": allowed.snapshots,
        "maxTotalVolumeGigabytes": allowed.gigabytes,
        "maxTotalBackups": UNLIMITED,
        "maxTotalBackupGigabytes": UNLIMITED,
        "totalVolumesUsed": used.volumes,
        "totalGigabytesUsed": used.gigabytes,
        "totalSnapshotsUsed": used.snapshots,
        "totalBackupsUsed": 0,
        "totalBackupGigabytesUsed": 0,
    }
    return Answer(200, {"limits": {"rate": [], "absolute": absolute}})


def _target(request: ApiRequest) -> str:
    """Return the project of the quota set; raise `NotPermitted` for a project whose records the caller may not see."""
    project_id = request.path["target_project_id"]
    if not re.fullmatch(PROJECT, project_id):
        raise errors.InvalidRequest(
            f"project {cut(project_id)!r} must have 1 to 255 characters of ASCII that are no blanks"
        )
    if request.visible_project not in (None, project_id):
        raise errors.NotPermitted(
            f"The quota of project {cut(project_id)} is not visible in this project; send the request in that project."
        )
    return project_id


def _quota_set(limits: Limits, **more: str) -> Answer:
    shown = {name: getattr(limits, kind) if kind else UNLIMITED for name, kind in SHOWN.items()}
    return Answer(200, {"quota_set": shown | more})


def _limits(quota_set: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the limits of a body by kind; raise `InvalidRequest` for a key or a value that can't be kept."""
    unknown = [name for name in quota_set if name not in SHOWN and name not in _NO_LIMITS]
    if unknown:
        raise errors.InvalidRequest(
            f"Invalid input received: Bad key(s) in quota set: {cut(','.join(unknown))}; "
            f"the limits that can be set are {', '.join(KINDS)}"
        )
    given = {name: _whole_number(name, quota_set[name]) for name in quota_set if name in SHOWN}
    meaningless = [name for name, limit in given.items() if SHOWN[name] is None and limit != UNLIMITED]
    if meaningless:
        raise errors.InvalidRequest(
            f"{', '.join(meaningless)} can't be limited, since snapmanage has none: leave it out, or send {UNLIMITED}"
        )
    return {kind: given[name] for name, kind in SHOWN.items() if kind and name in given}


def _whole_number(name: str, value: Any) -> int:
    try:
        limit = int(value)
    except ValueError as error:
        raise errors.InvalidRequest(f"{name} must be a whole number, not {cut(repr(value))}") from error
    if limit < UNLIMITED:
        raise errors.InvalidRequest(f"{name} must be >= {UNLIMITED}; {UNLIMITED} is no limit")
    if limit > LARGEST_LIMIT:
        raise errors.InvalidRequest(f"{name} must be <= {LARGEST_LIMIT}; {UNLIMITED} is no limit")
    return limit


def _require_above_usage(wanted: Mapping[str, int | None], used: Usage) -> None:
    for kind, limit in wanted.items():
        if limit is not None and UNLIMITED < limit < getattr(used, kind):
            raise errors.InvalidRequest(
                f"Quota {kind} limit must be equal or greater than existing resources, of which there are "
                f"{getattr(used, kind)}; send a higher limit, or leave out skip_validation"
            )
