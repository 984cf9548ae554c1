"""A remedy for each reason why an entry was skipped or failed."""

from collections.abc import Mapping

_AGAIN = "make a new plan and apply it"
_RETRY = "apply the plan again with --retry; without that action, undo it with --only failed, and make a new plan"
REMEDIES: Mapping[str, str] = {
    "already_managed": "nothing to do: a record owns it; snapmanage list shows which snapshots are left",
    "attempts_exhausted": f"repair the backend, then {_RETRY}",
    "backend_busy": f"wait for the other program on the backend, then {_RETRY}",
    "backend_error": f"read the log of the server, repair the backend, then {_RETRY}",
    "backend_permission": f"give the service the right that the text names, then {_RETRY}",
    "backend_unavailable": f"make the backend reachable, then {_RETRY}",
    "changed_since_plan": f"the snapshot is gone, in use or another one now: {_AGAIN}",
    "configuration": "an operator must correct the configuration of the service, as the text says",
    "id_in_use": f"a record has the id that the plan chose: {_AGAIN}",
    "in_use": f"close the snapshot, then {_AGAIN} (a failed one: apply --retry), or plan it with --include-unsafe",
    "invalid_reference": "correct the reference in the plan",
    "invalid_request": "correct the entry as the text says",
    "invalid_state": "wait until the volume is available, or repair it, then apply the plan again",
    "key_reused": f"the entry has changed after it was sent: {_AGAIN}",
    "name_taken": f"rename the other object on the backend, then {_RETRY}",
    "not_a_snapshot": "remove the entry from the plan, or correct its reference",
    "not_a_volume": "remove the entry from the plan, or correct its reference",
    "not_authenticated": "log in again",
    "not_found": f"the volume or the server is gone: {_AGAIN}",
    "not_permitted": "ask an administrator for the role",
    "not_safe": "read the text, or plan it with --include-unsafe",
    "origin_refuses": "leave it to its program, or stop that program and plan it with --force as an administrator",
    "orphan": "its volume is gone, so it can't be managed",
    "quota_exceeded": "raise the quota of the project, then apply the plan again",
    "server_error": "read the log of the service, then apply the plan again",
    "service_down": "start or enable the server of the backend, then apply the plan again",
    "source_not_found": f"the snapshot is gone: {_AGAIN}",
    "undone": f"it was unmanaged: {_AGAIN}, if it is to be managed",
    "unmanage_failed": f"finish it with undo, then {_AGAIN}",
    "unusable": "repair or remove the snapshot",
    "volume_failed": "make its volume manageable, as the text says, then apply the plan again with --retry",
    "wrong_volume": f"the snapshot belongs to another volume: {_AGAIN}",
}
OTHERWISE = "read the text, and the log of the service"


def remedy(why: str | None) -> str:
    """Return the remedy for a code; empty if nothing is wrong."""
    return REMEDIES.get(why, OTHERWISE) if why else ""
