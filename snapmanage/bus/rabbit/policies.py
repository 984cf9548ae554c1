"""Find broker policies that could drop messages, from the queues' descriptions in the management API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapmanage.bus.rabbit.topology import DEAD_LETTERS

_LENGTHS = ("max-length", "max-length-bytes")


@dataclass(frozen=True)
class Finding:
    """A problem of a queue with its remedy; with `loses` a policy drops messages for good."""

    queue: str
    text: str
    loses: bool


def findings(queue: Mapping[str, Any], wanted_type: str) -> list[Finding]:
    """Return the findings for a queue, in the form of `GET /api/queues/VHOST/NAME`."""
    name, policy = str(queue["name"]), queue.get("effective_policy_definition") or {}
    named = " and ".join(repr(queue[key]) for key in ("policy", "operator_policy") if queue.get(key))
    losses = [
        Finding(
            name,
            f"queue {name} would lose messages: policy {named} has {setting}. Remedy: take that key out of the "
            "policy, or give these queues a policy of their own with a higher priority",
            loses=True,
        )
        for setting in _losses(queue, policy)
    ]
    return losses + [Finding(name, text, loses=False) for text in _oddities(queue, wanted_type)]


def _losses(queue: Mapping[str, Any], policy: Mapping[str, Any]) -> list[str]:
    protected = _protected(queue)
    found = []
    if "expires" in policy:
        found.append(f"expires = {policy['expires']}, which deletes the queue while it has no consumer")
    if "message-ttl" in policy and not protected:
        found.append(f"message-ttl = {policy['message-ttl']}, which drops messages that wait longer")
    if "delivery-limit" in policy and not protected and queue.get("type") == "quorum":
        found.append(f"delivery-limit = {policy['delivery-limit']}, which drops messages that are requeued more often")
    lengths = [f"{key} = {policy[key]}" for key in _LENGTHS if key in policy]
    if lengths and _drops_head(queue, policy):
        found.append(
            f"{', '.join(lengths)} with overflow {policy.get('overflow', 'drop-head')}, which drops the oldest messages"
        )
    return found


def _drops_head(queue: Mapping[str, Any], policy: Mapping[str, Any]) -> bool:
    """Return whether a full queue drops its head; in a quorum queue the policy overrides the argument."""
    argument = queue.get("arguments", {}).get("x-overflow")
    given = policy.get("overflow")
    effective = (argument or given) if queue.get("type") == "classic" else (given or argument)
    return (effective or "drop-head") == "drop-head"


def _oddities(queue: Mapping[str, Any], wanted_type: str) -> list[str]:
    name = queue["name"]
    if str(name).startswith(DEAD_LETTERS):
        return []
    if queue.get("type", wanted_type) != wanted_type:
        return [
            f"queue {name} is a {queue['type']} queue, not a {wanted_type} queue. Remedy: delete it when it is empty"
        ]
    if not _protected(queue):
        return [
            f"queue {name} was declared without a dead-letter queue. "
            "Remedy: delete it when it is empty, and restart its consumers"
        ]
    return []


def _protected(queue: Mapping[str, Any]) -> bool:
    """Return whether dropped messages of this queue go to its dead-letter queue."""
    arguments: Mapping[str, object] = queue.get("arguments", {})
    return (
        arguments.get("x-dead-letter-exchange") == ""
        and arguments.get("x-dead-letter-routing-key") == f"{DEAD_LETTERS}{queue['name']}"
    )
