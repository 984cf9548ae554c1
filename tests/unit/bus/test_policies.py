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


def main(**policy: Any) -> dict[str, Any]:
    """A queue as snapmanage declares it."""
    return {
        "name": NAME,
        "type": "quorum",
        "arguments": PROTECTED,
        "policy": "strict",
        "effective_policy_definition": {key.replace("_", "-"): value for key, value in policy.items()},
    }


def old(**policy: Any) -> dict[str, Any]:
    """One from before."""
    return main(**policy) | {"arguments": {"x-queue-type": "quorum"}}


def dead_letters(**policy: Any) -> dict[str, Any]:
    arguments = {"x-queue-type": "classic", "x-overflow": "reject-publish"}
    return main(**policy) | {"name": f"dead-letters.{NAME}", "type": "classic", "arguments": arguments}


HARMLESS = {
    "none": main(),
    "a limit of deliveries": main(delivery_limit=1),
    "a TTL": main(message_ttl=1000),
    "a length": main(max_length=3),
    "a length that refuses": main(max_length=3, overflow="reject-publish"),
    "a dead-letter exchange": main(dead_letter_exchange="other"),
    "a length of dead letters": dead_letters(max_length=3, overflow="drop-head"),
    "a limit of deliveries of dead letters": dead_letters(delivery_limit=1),
}
LOSING = {
    "expires": main(expires=1000),
    "overflow drop-head": main(max_length_bytes=3, overflow="drop-head"),
    "message-ttl": dead_letters(message_ttl=1000),
    "expires = 1000": dead_letters(expires=1000),
    "delivery-limit": old(delivery_limit=20),
    "message-ttl = 1000": old(message_ttl=1000),
    "max-length = 3": old(max_length=3),
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
    [loss] = findings(main(expires=1000) | {"operator_policy": "tenant"}, "quorum")

    assert "'strict' and 'tenant'" in loss.text


@pytest.mark.parametrize(
    ("queue", "text"),
    [(old(), "without a dead-letter queue"), (old() | {"type": "classic"}, "is a classic queue")],
)
def test_queue_with_old_arguments_is_reported(queue: dict[str, Any], text: str) -> None:
    [note] = findings(queue, "quorum")

    assert (note.loses, text in note.text) == (False, True)
