"""Policies of the broker that drop messages of a queue."""

from typing import Any

import pytest

from snapmanage.bus.rabbit.policies import findings

NAME = "snapmanage-volume.storage-1@pool"
PROTECTED = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": f"dead-letters.{NAME}",
    "x-overflow": "reject-publish",
}


def server_queue(**policy: Any) -> dict[str, Any]:
    """Return the broker's description of a queue that a server declares."""
    return {
        "name": NAME,
        "type": "quorum",
        "arguments": PROTECTED,
        "policy": "strict",
        "effective_policy_definition": {key.replace("_", "-"): value for key, value in policy.items()},
    }


def old_server_queue(**policy: Any) -> dict[str, Any]:
    """Return the description of a queue that an earlier release declared."""
    return server_queue(**policy) | {"arguments": {"x-queue-type": "quorum"}}


def dead_letter_queue(**policy: Any) -> dict[str, Any]:
    arguments = {"x-queue-type": "classic", "x-overflow": "reject-publish"}
    return server_queue(**policy) | {"name": f"dead-letters.{NAME}", "type": "classic", "arguments": arguments}


HARMLESS = {
    "none": server_queue(),
    "a limit of deliveries": server_queue(delivery_limit=1),
    "a TTL": server_queue(message_ttl=1000),
    "a length": server_queue(max_length=3),
    "a length that refuses": server_queue(max_length=3, overflow="reject-publish"),
    "a dead-letter exchange": server_queue(dead_letter_exchange="other"),
    "a length of dead letters": dead_letter_queue(max_length=3, overflow="drop-head"),
    "a limit of deliveries of dead letters": dead_letter_queue(delivery_limit=1),
}
LOSING = {
    "expires": server_queue(expires=1000),
    "overflow drop-head": server_queue(max_length_bytes=3, overflow="drop-head"),
    "message-ttl": dead_letter_queue(message_ttl=1000),
    "expires = 1000": dead_letter_queue(expires=1000),
    "delivery-limit": old_server_queue(delivery_limit=20),
    "message-ttl = 1000": old_server_queue(message_ttl=1000),
    "max-length = 3": old_server_queue(max_length=3),
}


@pytest.mark.parametrize("queue", HARMLESS.values(), ids=HARMLESS.keys())
def test_harmless_policy_is_no_finding(queue: dict[str, Any]) -> None:
    assert findings(queue, "quorum") == []


@pytest.mark.parametrize(("key", "queue"), LOSING.items(), ids=LOSING.keys())
def test_policy_that_loses_messages_is_reported_with_its_key(key: str, queue: dict[str, Any]) -> None:
    [loss] = [finding for finding in findings(queue, "quorum") if finding.loses]

    assert "'strict'" in loss.text
    assert key in loss.text


def test_operator_policy_is_named_together_with_the_policy() -> None:
    [loss] = findings(server_queue(expires=1000) | {"operator_policy": "tenant"}, "quorum")

    assert "'strict' and 'tenant'" in loss.text


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (old_server_queue(), "without a dead-letter queue"),
        (old_server_queue() | {"type": "classic"}, "is a classic queue"),
    ],
)
def test_queue_with_old_arguments_is_reported(queue: dict[str, Any], text: str) -> None:
    [note] = findings(queue, "quorum")

    assert (note.loses, text in note.text) == (False, True)
