"""The policies of all operations with their defaults, and their check by oslo.policy.

Policies have the names of the Block Storage API where it has one. By default an administrator may call every
operation, and a reader may list and show the records of its project.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from oslo_config import cfg
from oslo_policy import policy as oslo_policy

from snapmanage import errors
from snapmanage.api.access.callers import Caller

# A changed policy file takes effect after at most so long. A look for the files takes ten times as long as a check.
LOOK_SECONDS = 1.0
# Decisions that are kept until the next look.
MOST_DECISIONS = 1000

ADMIN = "context_is_admin"
MANAGE = "snapshot_extension:snapshot_manage"
UNMANAGE = "snapshot_extension:snapshot_unmanage"
RETRY = "snapshot_extension:snapshot_retry"
LIST_MANAGEABLE = "snapshot_extension:list_manageable"
LIST_MANAGEABLE_VOLUMES = "volume_extension:list_manageable"
MANAGE_VOLUME = "volume_extension:volume_manage"
UNMANAGE_VOLUME = "volume_extension:volume_unmanage"
RETRY_VOLUME = "volume_extension:volume_retry"
GET_SNAPSHOT = "volume:get_snapshot"
GET_SNAPSHOTS = "volume:get_all_snapshots"
GET_OPERATION = "snapshot_extension:get_operation"
GET_VOLUME = "volume:get"
GET_VOLUMES = "volume:get_all"
UPDATE_SNAPSHOT = "volume:update_snapshot"
DELETE_SNAPSHOT = "volume:delete_snapshot"
GET_SNAPSHOT_METADATA = "volume:get_snapshot_metadata"
UPDATE_SNAPSHOT_METADATA = "volume:update_snapshot_metadata"
DELETE_SNAPSHOT_METADATA = "volume:delete_snapshot_metadata"
UPDATE_VOLUME = "volume:update"
DELETE_VOLUME = "volume:delete"
GET_VOLUME_METADATA = "volume:get_volume_metadata"
CREATE_VOLUME_METADATA = "volume:create_volume_metadata"
UPDATE_VOLUME_METADATA = "volume:update_volume_metadata"
DELETE_VOLUME_METADATA = "volume:delete_volume_metadata"
GET_MESSAGE = "message:get"
GET_MESSAGES = "message:get_all"
GET_SERVICES = "volume_extension:services:index"
UPDATE_SERVICE = "volume_extension:services:update"
GET_POOLS = "scheduler_extension:scheduler_stats:get_pools"
GET_ZONES = "volume:availability_zone_list"
GET_QUOTAS = "volume_extension:quotas:show"
UPDATE_QUOTAS = "volume_extension:quotas:update"
DELETE_QUOTAS = "volume_extension:quotas:delete"
GET_LIMITS = "limits_extension:used_limits"
GET_TYPES = "volume_extension:type_get_all"
GET_TYPE = "volume_extension:type_get"
GET_EXTENSIONS = "extension:get_all"

# A reference to another rule in the text of a rule.
_REFERENCE = re.compile(r"\brule:([^\s()]+)")

_ADMIN = f"rule:{ADMIN}"
_READER = "rule:project_reader"
_MEMBER = "rule:project_member"


class Policy:
    """The rules in force: the defaults, and those of the operator's policy file."""

    def __init__(self, conf: cfg.ConfigOpts, clock: Callable[[], float] = time.monotonic) -> None:
        self._enforcer = oslo_policy.Enforcer(conf)
        self._enforcer.register_defaults(list_rules())
        self._lock = threading.Lock()  # the check after a look reads a changed file, which takes several steps
        self._clock = clock
        self._look_at = 0.0
        self._decisions: dict[tuple[str, str, str | None, tuple[str, ...]], bool] = {}

    def check(self) -> None:
        """Read the policy file; raise `ConfigurationError` if it is malformed."""
        try:
            self._enforcer.load_rules()
            self._enforcer.check_rules(raise_on_violation=True)
        # oslo.policy raises these for rules of a wrong type.
        except (AttributeError, OSError, TypeError, ValueError, oslo_policy.InvalidDefinitionError) as error:
            raise errors.ConfigurationError(
                f"[oslo_policy] policy_file {self._enforcer.policy_path}: {' '.join(str(error).split())}"
            ) from error

    def unused_rules(self) -> list[str]:
        """Return the rules of the policy file that are no policy, and that no other rule of the file refers to."""
        given = self._enforcer.file_rules
        texts = " ".join(str(rule.check_str) for rule in given.values())
        referred = set(_REFERENCE.findall(texts))
        return sorted(name for name in given if name not in self._enforcer.registered_rules and name not in referred)

    def allows(self, caller: Caller, rule: str) -> bool:
        """Return whether the caller may perform `rule` in the project of the request."""
        asked = (rule, caller.requester.project_id, caller.requester.user_id, caller.roles)
        if self._clock() < self._look_at and (known := self._decisions.get(asked)) is not None:
            return known
        with self._lock:
            return self._decide(*asked)

    def _decide(self, rule: str, project_id: str, user_id: str | None, roles: tuple[str, ...]) -> bool:
        now = self._clock()
        self._enforcer.use_conf = now >= self._look_at
        if self._enforcer.use_conf or len(self._decisions) >= MOST_DECISIONS:
            self._decisions = {}
            self._look_at = now + LOOK_SECONDS
        target = {"project_id": project_id, "user_id": user_id}
        allowed = bool(self._enforcer.authorize(rule, target, target | {"roles": list(roles)}))
        self._decisions[rule, project_id, user_id, roles] = allowed
        return allowed


def list_rules() -> Sequence[oslo_policy.RuleDefault]:
    """Return all rules, for oslopolicy-sample-generator too."""
    return [
        oslo_policy.RuleDefault(ADMIN, "role:admin", "Administrators, who may see the records of all projects."),
        oslo_policy.RuleDefault(
            "project_reader",
            f"{_ADMIN} or ((role:reader or role:member) and project_id:%(project_id)s)",
            "Callers who may list and show the records of their project.",
        ),
        oslo_policy.RuleDefault(
            "project_member",
            f"{_ADMIN} or (role:member and project_id:%(project_id)s)",
            "Callers who may edit names, descriptions and metadata of the records of their project.",
        ),
        _rule(
            MANAGE,
            _ADMIN,
            "Manage a snapshot, or many in a batch.",
            "POST /os-snapshot-manage",
            "POST /os-snapshot-manage/batch",
            "POST /manageable_snapshots",
            "POST /manageable_snapshots/batch",
        ),
        _rule(UNMANAGE, _ADMIN, "Unmanage a snapshot.", "POST /snapshots/{snapshot_id}/action"),
        _rule(RETRY, _ADMIN, "Retry the failed operation of a snapshot.", "POST /snapshots/{snapshot_id}/action"),
        _rule(
            LIST_MANAGEABLE,
            _ADMIN,
            "List manageable snapshots on a backend, regardless of project.",
            "GET /os-snapshot-manage",
            "GET /os-snapshot-manage/detail",
            "GET /manageable_snapshots",
            "GET /manageable_snapshots/detail",
        ),
        _rule(
            LIST_MANAGEABLE_VOLUMES,
            _ADMIN,
            "List manageable volumes on a backend, regardless of project.",
            "GET /os-volume-manage",
            "GET /os-volume-manage/detail",
            "GET /manageable_volumes",
            "GET /manageable_volumes/detail",
        ),
        _rule(
            MANAGE_VOLUME,
            _ADMIN,
            "Register a volume that exists on a backend.",
            "POST /os-volume-manage",
            "POST /manageable_volumes",
        ),
        _rule(UNMANAGE_VOLUME, _ADMIN, "Unmanage a volume.", "POST /volumes/{volume_id}/action"),
        _rule(RETRY_VOLUME, _ADMIN, "Retry the failed registration of a volume.", "POST /volumes/{volume_id}/action"),
        _rule(GET_SNAPSHOT, _READER, "Show a snapshot.", "GET /snapshots/{snapshot_id}"),
        _rule(GET_SNAPSHOTS, _READER, "List snapshots.", "GET /snapshots", "GET /snapshots/detail"),
        _rule(GET_OPERATION, _READER, "Show the progress of an operation.", "GET /snapshots/{snapshot_id}/operation"),
        _rule(GET_VOLUME, _READER, "Show a volume.", "GET /volumes/{volume_id}"),
        _rule(
            GET_VOLUMES, _READER, "List or sum volumes.", "GET /volumes", "GET /volumes/detail", "GET /volumes/summary"
        ),
        *_rules_of_edits(),
        _rule(GET_MESSAGE, _READER, "Show the reason of a failed operation.", "GET /messages/{message_id}"),
        _rule(GET_MESSAGES, _READER, "List the reasons of failed operations.", "GET /messages"),
        _rule(GET_SERVICES, _ADMIN, "List the servers that own backends.", "GET /os-services"),
        _rule(
            UPDATE_SERVICE,
            _ADMIN,
            "Enable or disable a server for new requests.",
            "PUT /os-services/enable",
            "PUT /os-services/disable",
            "PUT /os-services/disable-log-reason",
        ),
        _rule(GET_POOLS, _ADMIN, "List the pools of backends.", "GET /scheduler-stats/get_pools"),
        _rule(GET_ZONES, "@", "List availability zones.", "GET /os-availability-zone"),
        _rule(
            GET_QUOTAS,
            _READER,
            "Show the limits and the usage of the project.",
            "GET /os-quota-sets/{target_project_id}",
            "GET /os-quota-sets/{target_project_id}/defaults",
        ),
        _rule(UPDATE_QUOTAS, _ADMIN, "Set limits of a project.", "PUT /os-quota-sets/{target_project_id}"),
        _rule(DELETE_QUOTAS, _ADMIN, "Reset a project to the defaults.", "DELETE /os-quota-sets/{target_project_id}"),
        _rule(GET_LIMITS, _READER, "Show the limits and the usage of the own project.", "GET /limits"),
        _rule(GET_TYPES, "@", "List volume types.", "GET /types"),
        _rule(GET_TYPE, "@", "Show a volume type.", "GET /types/{volume_type_id}"),
        _rule(GET_EXTENSIONS, "@", "List extensions.", "GET /extensions", "GET /extensions/os-snapshot-manage"),
    ]


def _rules_of_edits() -> Sequence[oslo_policy.RuleDefault]:
    snapshot, volume = "/snapshots/{snapshot_id}", "/volumes/{volume_id}"
    of_snapshot, of_volume = f"{snapshot}/metadata", f"{volume}/metadata"
    return [
        _rule(UPDATE_SNAPSHOT, _MEMBER, "Edit the name and the description of a snapshot.", f"PUT {snapshot}"),
        _rule(DELETE_SNAPSHOT, _MEMBER, "Learn that snapmanage deletes no snapshot.", f"DELETE {snapshot}"),
        _rule(
            GET_SNAPSHOT_METADATA,
            _READER,
            "Show the metadata of a snapshot.",
            f"GET {of_snapshot}",
            f"GET {of_snapshot}/{{key}}",
        ),
        _rule(
            UPDATE_SNAPSHOT_METADATA,
            _MEMBER,
            "Add, change and replace the metadata of a snapshot.",
            f"POST {of_snapshot}",
            f"PUT {of_snapshot}",
            f"PUT {of_snapshot}/{{key}}",
        ),
        _rule(DELETE_SNAPSHOT_METADATA, _MEMBER, "Remove metadata of a snapshot.", f"DELETE {of_snapshot}/{{key}}"),
        _rule(UPDATE_VOLUME, _MEMBER, "Edit the name, the description and the metadata of a volume.", f"PUT {volume}"),
        _rule(DELETE_VOLUME, _MEMBER, "Learn that snapmanage deletes no volume.", f"DELETE {volume}"),
        _rule(
            GET_VOLUME_METADATA,
            _READER,
            "Show the metadata of a volume.",
            f"GET {of_volume}",
            f"GET {of_volume}/{{key}}",
        ),
        _rule(CREATE_VOLUME_METADATA, _MEMBER, "Add and change metadata of a volume.", f"POST {of_volume}"),
        _rule(
            UPDATE_VOLUME_METADATA,
            _MEMBER,
            "Replace the metadata of a volume, or change one pair.",
            f"PUT {of_volume}",
            f"PUT {of_volume}/{{key}}",
        ),
        _rule(DELETE_VOLUME_METADATA, _MEMBER, "Remove metadata of a volume.", f"DELETE {of_volume}/{{key}}"),
    ]


def _rule(name: str, check: str, description: str, *operations: str) -> oslo_policy.DocumentedRuleDefault:
    paths: list[Any] = [dict(zip(("method", "path"), each.split(" "), strict=True)) for each in operations]
    return oslo_policy.DocumentedRuleDefault(name, check, description, paths)
