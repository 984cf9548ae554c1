"""The WSGI application: from HTTP to a handler and back; the one place where errors become statuses."""

import json
import logging
import re
from typing import Any

import falcon
from falcon.routing import BaseConverter
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from snapmanage import errors
from snapmanage.api import answers, routes, schemas, versions
from snapmanage.api.access import callers, policy
from snapmanage.api.request import Answer, ApiRequest, Service
from snapmanage.api.route import Route
from snapmanage.store.engine import database

LOG = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "5"

# The first class that fits decides.
STATUSES: tuple[tuple[type[errors.SnapmanageError], int], ...] = (
    (errors.NotAuthenticated, 401),
    (errors.NotAcceptable, 406),
    (errors.NotFound, 404),
    (errors.AlreadyManaged, 409),
    (errors.QuotaExceeded, 413),
    (errors.KeyReused, 422),
    (errors.NotPermitted, 403),
    (errors.ConfigurationError, 500),
    (errors.Invalid, 400),
    (errors.Unavailable, 503),
    (errors.BackendError, 503),
)
MOST_PARAMETERS = 100
# HOST[:PORT], as links repeat it.
_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
# What a proxy may put before our paths.
_PREFIX = re.compile(r"[A-Za-z0-9/._~-]*")


class ProjectConverter(BaseConverter):
    """Project ids are hexadecimal, with or without hyphens; anything else is another path."""

    def convert(self, value: str) -> str | None:
        return value if re.fullmatch(r"[0-9a-fA-F-]{1,255}", value) else None


class RequestIdMiddleware:
    """What every answer says, those to requests that reach no handler too."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        response.set_header("X-Openstack-Request-Id", callers.begin(request))
        response.append_header("Vary", versions.HEADER)


class RequestGuard:
    """What no URL may hold, whatever it asks for."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        host, query = request.env.get("HTTP_HOST"), request.query_string
        if host is not None and not _HOST.fullmatch(host):
            raise errors.InvalidRequest("the Host header must be HOST or HOST:PORT")
        if request.scheme not in ("http", "https") or not _PREFIX.fullmatch(request.root_path):
            raise errors.InvalidRequest("the headers of a proxy must name http or https, and a plain path as prefix")
        # No text that is kept holds one, and PostgreSQL refuses to look for it.
        if "\0" in request.path or "%00" in query:
            raise errors.InvalidRequest("the URL holds a NUL; texts are Unicode without NUL")
        if re.search("%(?![0-9A-Fa-f]{2})", query):
            raise errors.InvalidRequest("the query has a % that is not followed by two hexadecimal digits")
        if query.count("&") >= MOST_PARAMETERS:
            raise errors.InvalidRequest(f"a query may have {MOST_PARAMETERS} parameters")


class Public:
    """A route that everybody may call, as falcon takes it: a responder for each method."""

    def __init__(self, service: Service, route: Route) -> None:
        self._service = service
        self._route = route
        for method in route.methods:
            setattr(self, f"on_{method.lower()}", self._respond)

    def _respond(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        response.set_header(versions.HEADER, f"{versions.SERVICE} {versions.MINIMUM}")
        _write(response, self._route.methods[request.method].handler(ApiRequest(self._service, request, path)))


class Protected(Public):
    """A route for those who may: authentication first, then version and body, then policy."""

    def _respond(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        caller = self._service.authenticate(request, path.get("project_id"))
        version = versions.negotiate(request.headers)
        response.set_header(versions.HEADER, f"{versions.SERVICE} {version}")
        if version < self._route.since:
            raise falcon.HTTPNotFound
        operation = self._route.methods[request.method]
        call = ApiRequest(
            self._service, request, path, caller, version, _body(request, operation.body, self._service.limits.body)
        )
        self._service.policy.require(caller, operation.rule or policy.ADMIN)
        _write(response, operation.handler(call))


def build(service: Service) -> falcon.App[falcon.Request, falcon.Response]:
    """The application."""
    middleware: list[Any] = [RequestIdMiddleware(), RequestGuard()]
    app = falcon.App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    app.router_options.converters["project"] = ProjectConverter
    for path, route in routes.ROOT.items():
        app.add_route(path, Public(service, route))
    for path, route in routes.PROJECT.items():
        app.add_route(f"/v3{path}", Protected(service, route))
        app.add_route(f"/v3/{{project_id:project}}{path}", Protected(service, route))
    app.set_error_serializer(_serialize)
    app.add_error_handler(errors.SnapmanageError, _deliberate)
    app.add_error_handler(DBAPIError, _database_failed)
    app.add_error_handler(PoolTimeout, _database_away)
    app.add_error_handler(Exception, _unexpected)
    return app


def _body(request: falcon.Request, schema: schemas.Schema | None, largest: int) -> Any:
    """Return the body, checked by the operation's schema; None if the operation takes no body."""
    if schema is None:
        return None
    if request.get_header("Transfer-Encoding"):
        raise falcon.HTTPLengthRequired(description="Missing Content-Length: send the body in one piece.")
    if (request.content_length or 0) > largest:
        raise falcon.HTTPContentTooLarge(description=f"Request is too large: a body may have {largest} bytes.")
    try:
        raw = request.bounded_stream.read()
    except TimeoutError as error:
        raise falcon.HTTPError("408 Request Timeout", description="The body didn't arrive in time.") from error
    if len(raw) < (request.content_length or 0):
        raise errors.InvalidRequest("the body is shorter than its Content-Length")
    if not raw:
        raise errors.InvalidRequest("Missing body: the request needs one, in JSON.")
    if (request.content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise falcon.HTTPUnsupportedMediaType(
            description="Unsupported Content-Type: the body must be application/json."
        )
    body = schemas.parse(raw)
    schemas.check(body, schema)
    return body


def _write(response: falcon.Response, answer: Answer) -> None:
    response.status = answer.status
    for name, value in answer.headers.items():
        response.set_header(name, value)
    if answer.body is not None:
        response.content_type = "application/json"
        response.data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()


def _fault(response: falcon.Response, status: int, text: str) -> None:
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else {}
    _write(response, Answer(status, answers.fault(status, text), headers))


def _serialize(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    """What falcon itself refuses: no such path, no such method, a body too large."""
    if response.get_header("X-Openstack-Request-Id") is None:  # it asks no middleware about the method WEBSOCKET
        RequestIdMiddleware().process_request(request, response)
    _fault(response, error.status_code, error.description or error.title or "The request can't be served.")


def _deliberate(request: Any, response: falcon.Response, error: errors.SnapmanageError, path: Any) -> None:
    if isinstance(error, errors.NotAuthenticated):
        response.set_header("WWW-Authenticate", error.challenge)
    _fault(response, next((status for kind, status in STATUSES if isinstance(error, kind)), 500), str(error))


def _database_failed(request: Any, response: falcon.Response, error: DBAPIError, path: Any) -> None:
    (_database_away if database.away(error) else _unexpected)(request, response, error, path)


def _database_away(request: Any, response: falcon.Response, error: SQLAlchemyError, path: Any) -> None:
    LOG.warning("The database doesn't answer: %s", error)
    _fault(response, 503, "The database doesn't answer at the moment; try again later.")


def _unexpected(request: Any, response: falcon.Response, error: Exception, path: Any) -> None:
    LOG.error("A request failed: %s %s", request.method, request.path, exc_info=error)
    _fault(response, 500, "The server failed in a way it shouldn't; its log tells more under this request's id.")
