"""Requests of any form at the whole API: no server error, valid JSON, printable texts."""

import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any
from urllib.parse import quote

import falcon
import falcon.testing
from hypothesis import strategies as st
from oslo_config import cfg
from sqlalchemy import Connection

from snapmanage.api import app, routes
from snapmanage.api.access.noauth import NoAuth
from snapmanage.api.access.policy import Policy
from snapmanage.api.request import Limits, Service
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.bus.names import Names
from snapmanage.core import services as service
from snapmanage.core.lists.filters import Page, on_page
from snapmanage.core.lists.inventory import Inventory, L
from snapmanage.core.lists.manageable import Assessment, Owned, assess
from snapmanage.core.records import Requester
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.rules import Rules
from snapmanage.store import records, services
from snapmanage.store.engine.database import connect
from snapmanage.volume.endpoint import Endpoint, ManageableLists
from tests import examples
from tests.functional.client import PROJECT
from tests.functional.databases import sqlite
from tests.fuzz.hostile import ANY_TEXT, NUMBERS, bounded, damaged, fuzz, reshaped, scratch

BACKEND = [examples.found(name) for name in ("daily", "a\x1b[2J", "é")]
VOLUMES = [examples.found_volume(name) for name in ("disk", "a\x1b[2J", "é")]
PATHS = [
    path.replace("{snapshot_id}", examples.SNAPSHOT_ID).replace("{message_id}", examples.SNAPSHOT_ID)
    for path in routes.PROJECT
]
PARAMETERS = sorted(
    {each.name for route in routes.PROJECT.values() for method in route.methods.values() for each in method.query}
)
VALUES = st.one_of(
    ANY_TEXT,
    st.sampled_from(NUMBERS).map(str),
    st.sampled_from(
        (
            *(
                "storage-1@fast",
                "storage-1@fast#pool",
                "storage-1",
                "reference:asc",
                "size:desc,reference",
                "created_at",
            ),
            *(
                "2026-01-31T12:00:00Z",
                "0001-01-01T00:00:00+23:59",
                "9999-12-31T23:59:59-23:59",
                "{'a': 'b'}",
                "{'a': {}}",
            ),
            *(
                '{"source-name": "daily"}',
                '{"source-name": 1}',
                examples.VOLUME_ID,
                "(" * 200,
                "-" * 5000 + "1",
                "true",
            ),
        )
    ),
)
QUERIES = st.one_of(
    st.lists(st.tuples(st.sampled_from(PARAMETERS) | ANY_TEXT, VALUES), max_size=6).map(
        lambda pairs: "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
    ),
    st.text(st.characters(codec="ascii"), max_size=60),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        (
            *("HTTP_OPENSTACK_API_VERSION", "HTTP_X_AUTH_TOKEN", "HTTP_IDEMPOTENCY_KEY", "HTTP_X_OPENSTACK_REQUEST_ID"),
            *("HTTP_HOST", "HTTP_ACCEPT", "HTTP_TRANSFER_ENCODING", "CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_RANGE"),
        )
    ),
    st.sampled_from(("volume 3.8", "volume 3.65", "volume latest", "application/json", "user:project", "req-1"))
    | ANY_TEXT.map(lambda text: text.encode(errors="ignore").decode("latin-1")),
    max_size=3,
)
BODIES: tuple[dict[str, Any], ...] = (
    {
        "snapshot": {
            "volume_id": examples.VOLUME_ID,
            "ref": {"source-name": "daily"},
            "name": "n",
            "metadata": {"a": "b"},
        }
    },
    {"volume": {"host": "storage-1@fast", "ref": {"source-name": "disk"}, "name": None}},
    {"os-unmanage": None},
    {"retry": {}},
)


class EndpointBus(InProcessBus):
    """A bus that answers calls at once, by the endpoint of a backend with some snapshots."""

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        lists = ManageableLists(partial(self._list, BACKEND), partial(self._list, VOLUMES))
        endpoint = Endpoint("storage-1@fast", lists)
        return json.loads(json.dumps(getattr(endpoint, method)({}, **json.loads(json.dumps(arguments)))))

    def _list(self, found: Sequence[L], page: Page) -> list[Assessment]:
        return assess(on_page(Inventory(found).candidates(page), page), Owned())


@cache
def api() -> Any:
    db = connect(sqlite(scratch("api")))
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])

    def fill(conn: Connection, now: datetime) -> None:
        services.beat(conn, service.Service("storage-1@fast", "fake", now))
        records.insert(conn, examples.available_volume(requester=Requester(PROJECT)))

    db.write(fill)
    application = Application(db, OutboxWriter(), Rules())
    return app.build(Service(application, EndpointBus(Names()), Limits(), NoAuth(anywhere=True), Policy(conf)))


@fuzz(path=st.sampled_from(PATHS), query=QUERIES, headers=HEADERS, examples=150)
def test_query_of_any_text_is_answered(path: str, query: str, headers: dict[str, str]) -> None:
    check("GET", f"/v3/{PROJECT}{path}", query, headers)


@fuzz(
    path=st.sampled_from(PATHS),
    body=reshaped(*BODIES).map(lambda value: json.dumps(value).encode())
    | damaged(*(json.dumps(body).encode() for body in BODIES)),
    headers=HEADERS,
    examples=100,
)
def test_body_of_any_bytes_is_answered(path: str, body: bytes, headers: dict[str, str]) -> None:
    check("POST", f"/v3/{PROJECT}{path}", "", {"CONTENT_TYPE": "application/json"} | headers, body)


@fuzz(
    method=st.sampled_from(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "WEBSOCKET")),
    path=ANY_TEXT | st.builds("/v3/{}/{}".format, ANY_TEXT, ANY_TEXT) | st.builds("/v3/snapshots/{}".format, ANY_TEXT),
    query=QUERIES,
)
def test_path_of_any_text_is_answered(method: str, path: str, query: str) -> None:
    check(method, path.encode(errors="ignore").decode("latin-1"), query, {})


def check(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes = b"") -> None:
    """Send a request; check the status, the headers and the form of the answer."""
    usual = {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    environ = falcon.testing.create_environ("/") | usual | dict(headers) | {"PATH_INFO": path, "QUERY_STRING": query}
    answer: Any = falcon.testing.StartResponseMock()

    with bounded((method, path, query, dict(headers), body)):
        raw = b"".join(api()(environ, answer))

        assert int(answer.status[:3]) < 500, (answer.status, raw)
        assert all(f"{name}{value}".isprintable() for name, value in answer.headers)
        for fault in json.loads(raw).values() if raw and int(answer.status[:3]) >= 400 else ():
            assert fault["message"].isprintable()


def _quoted(text: str) -> str:
    return quote(text.encode(errors="surrogatepass"))
