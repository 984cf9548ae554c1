"""CADF events of API requests on a real broker."""

import json
from pathlib import Path
from typing import Any

import kombu
import pytest
from falcon import testing

from snapmanage.api.access.callers import Caller
from snapmanage.api.access.log import CALLER
from snapmanage.cmd.wiring import configuration, middleware
from snapmanage.core.records import Requester
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.functional.api.access.test_authentication import configured

MAP = Path(__file__).parents[3] / "etc/snapmanage/api_audit_map.conf"
PROJECT = "0123456789abcdef0123456789abcdef"


# The application ignores this warning, but pytest replaces the filters of warnings for each test.
@pytest.mark.filterwarnings("ignore:Invalid uuid")
def test_events_reach_a_queue_of_their_own(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    conf = configured(
        tmp_path,
        f"[DEFAULT]\ntransport_url = {rabbitmq.url}\n[api]\naudit_map_file = {MAP}\n"
        "[audit_middleware_notifications]\ndriver = messagingv2\n",
    )
    configuration.register_messaging(conf)
    application = middleware.surround(conf, lambda environ, start_response: start_response("202 Accepted", []) or [])

    environ = testing.create_environ(f"/v3/{PROJECT}/snapshots/1/action", method="POST")
    environ[CALLER] = Caller(Requester(PROJECT, "0123"), ("admin",), bound=True, user_name="ann")
    application(environ, lambda status, headers: None)

    with kombu.Connection(rabbitmq.amqp_url) as connection:
        events = [next_event(connection) for _ in range(2)]
    assert [event["event_type"] for event in events] == ["audit.http.request", "audit.http.response"]
    assert events[1]["payload"]["action"] == "update/os-unmanage"
    assert events[1]["payload"]["initiator"]["name"] == "ann"


def next_event(connection: kombu.Connection) -> dict[str, Any]:
    """Return the next CADF event of the queue, once there is one."""
    message = until(lambda: connection.default_channel.basic_get("snapmanage-api-audit.info", no_ack=True), "an event")
    assert message is not None
    event: dict[str, Any] = json.loads(json.loads(message.body)["oslo.message"])
    return event
