"""CADF events of API requests on a real broker."""

import json
from pathlib import Path
from typing import Any

import kombu
from amqp.exceptions import InternalError, NotFound

from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.functional.api.serving.programs import running_api
from tests.functional.client import PROJECT, Client

MAP = Path(__file__).parents[3] / "etc/snapmanage/api_audit_map.conf"
OPTIONS = f"audit_map_file = {MAP}\n[audit_middleware_notifications]\ndriver = messagingv2\n"


def test_events_reach_a_queue_of_their_own(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    with running_api(tmp_path, options=OPTIONS, broker_url=rabbitmq.url) as api:
        client = Client(api.address)
        client.post("snapshots/1/action", json={"os-unmanage": None}, headers={"X-Auth-Token": f"ann:{PROJECT}"})
        client.close()

        events = [until(lambda: next_event(rabbitmq.amqp_url), "an event") or {} for _ in range(2)]

    assert [event["event_type"] for event in events] == ["audit.http.request", "audit.http.response"]
    assert events[1]["payload"]["action"] == "update/action"
    assert events[1]["payload"]["initiator"]["id"] == "ann"


def next_event(url: str) -> dict[str, Any]:
    """Return the next CADF event of the queue; it is empty as long as there is none.

    For a queue that is just being made, RabbitMQ 3.10 may close the connection with an internal error.
    """
    try:
        with kombu.Connection(url) as connection, connection.channel() as channel:
            message = channel.basic_get("snapmanage-api-audit.info", no_ack=True)
    except (NotFound, InternalError):
        return {}
    return dict(json.loads(json.loads(message.body)["oslo.message"])) if message else {}
