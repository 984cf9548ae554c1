"""The WSGI application: it parses HTTP requests, calls handlers, and maps errors to HTTP statuses."""

import json
import logging
import re
from collections.abc import Sequence
from typing import Any

import falcon
from falcon.routing import BaseConverter

from snapmanage import errors
from snapmanage.api import bodies, etags, parameters, refusals, requestids, routes, schemas, versions
from snapmanage.api.access import log as access
from snapmanage.api.access import policy
from snapmanage.api.access.callers import Caller
from snapmanage.api.answers import faults
from snapmanage.api.request import Answer, ApiRequest, Limits, Service
from snapmanage.api.route import Operation, Route
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import cut
from snapmanage.manage import availability

LOG = logging.getLogger(__name__)

MOST_PARAMETERS = 100
# HOST[:PORT]; links repeat it.
_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
# A path prefix that a proxy may add. Each link of each record on a page repeats it.
LONGEST_PREFIX = 255
_PREFIX = re.compile(rf"[A-Za-z0-9/._~-]{{0,{LONGEST_PREFIX}}}")


EXAMPLE_PROJECT = "0123456789abcdef0123456789abcdef"
# The first segment of each path of a project.
_RESOURCES = {path.split("/")[1] for path in routes.PROJECT}


class ProjectConverter(BaseConverter):
    """Accepts project ids: hexadecimal digits with or without hyphens; other path segments are not project ids."""

    def convert(self, value: str) -> str | None:
        return value if re.fullmatch(r"[0-9a-fA-F-]{1,255}", value) else None


class AnswerHeaders:
    """Gives every answer its request id and the headers of `SECURITY_HEADERS`, even if no handler is reached."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        request.context.request_id, request.context.global_request_id = requestids.assign(request.env)
        response.set_headers(faults.SECURITY_HEADERS | {requestids.HEADER: request.context.request_id})
        response.append_header("Vary", versions.HEADER)


class RequestGuard:
    """Refuses malformed URLs and Host headers before any handler."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        host, query = request.env.get("HTTP_HOST"), request.query_string
        if host is not None and not _HOST.fullmatch(host):
            raise errors.InvalidRequest("the Host header must be HOST or HOST:PORT")
        if request.scheme not in ("http", "https") or not _PREFIX.fullmatch(request.root_path):
            raise errors.InvalidRequest(
                "the proxy's headers must name the scheme http or https, and as prefix a plain path of at most "
                f"{LONGEST_PREFIX} characters; correct the proxy"
            )
        # No stored text holds NUL, and PostgreSQL refuses NUL in a query.
        if "\0" in request.path or "%00" in query:
            raise errors.InvalidRequest("the URL holds a NUL character; remove it")
        if re.search("%(?![0-9A-Fa-f]{2})", query):
            raise errors.InvalidRequest("the query has a % without two hexadecimal digits after it; write % as %25")
        if query.count("&") >= MOST_PARAMETERS:
            raise errors.InvalidRequest(f"the query has more than {MOST_PARAMETERS} parameters; send fewer")


class Public:
    """A route without authentication, as a falcon resource: one responder for each method."""

    def __init__(self, service: Service, route: Route) -> None:
        self._service = service
        self._route = route
        for method in route.methods:
            setattr(self, f"on_{method.lower()}", self._respond)

    def _respond(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        response.set_header(versions.HEADER, versions.header(versions.MINIMUM))
        _write_answer(response, self._route.methods[request.method].handler(ApiRequest(self._service, request, path)))


class Protected(Public):
    """A route with authentication: it checks caller, microversion, policy and body, in this order.

    The check of a large body takes up to half a second, so a caller without permission must not cause it.
    """

    def _respond(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        caller = request.env[access.CALLER] = self._service.authenticate(request, path.get("project_id"))
        version = versions.negotiate(request.headers)
        own = versions.negotiate_own(request.headers)
        response.set_header(versions.HEADER, versions.header(version, own))
        if version < self._route.since:
            raise falcon.HTTPNotFound(
                description=f"The resource could not be found: it needs microversion {self._route.since}; the request "
                f"asked for {version}. Send the header {versions.HEADER}: {versions.SERVICE} {self._route.since}."
            )
        operation = self._route.methods[request.method]
        self._require_any(request, caller, operation.rules)
        body = _read_body(request, operation, self._service.limits)
        if operation.actions:
            self._require_any(request, caller, [operation.actions[action] for action in body])
        everywhere = not caller.bound and self._service.policy.allows(caller, policy.ADMIN)
        api_request = ApiRequest(self._service, request, path, caller, version, body, everywhere, own is not None)
        try:
            if operation.query:
                parameters.refuse_unknown(api_request.parameters, operation.query, operation.lenient)
            _write_answer(response, operation.handler(api_request))
            if request.method == "GET":
                etags.apply(request, response)
        except errors.SnapmanageError as error:
            _refuse(request, response, error, refusals.text_of(api_request, error))

    def _require_any(self, request: falcon.Request, caller: Caller, rules: Sequence[str]) -> None:
        """Raise `NotPermitted` unless the policy allows the caller one of the rules."""
        rules = rules or [policy.ADMIN]
        if not any(self._service.policy.allows(caller, rule) for rule in rules):
            access.note(request.env, rule=rules[0])
            raise errors.NotPermitted(f"Policy doesn't allow {' or '.join(rules)} to be performed.")


def build(service: Service) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application."""
    middleware: list[Any] = [AnswerHeaders(), RequestGuard()]
    app = falcon.App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    app.router_options.converters["project"] = ProjectConverter
    for path, route in routes.ROOT.items():
        app.add_route(path, Public(service, route))
    for path, route in routes.PROJECT.items():
        template = path.replace("{key}", "{key:path}")  # the keys of metadata may have slashes
        app.add_route(f"/v3{template}", Protected(service, route))
        app.add_route(f"/v3/{{project_id:project}}{template}", Protected(service, route))
    for path in routes.BOOKMARKED:
        for project in ("", "/{project_id:project}"):
            app.add_route(f"{project}{path}", Protected(service, routes.PROJECT[path]))
    app.set_error_serializer(_answer_http_error)
    app.add_error_handler(errors.SnapmanageError, _answer_refusal)
    app.add_error_handler(Exception, _answer_failure)
    return app


def _read_body(request: falcon.Request, operation: Operation, limits: Limits) -> Any:
    """Return the body, checked by the operation's schema; None if the operation takes no body."""
    if operation.body is None:
        return None
    largest = limits.batch_body if operation.is_batch else limits.body
    if request.get_header("Transfer-Encoding"):
        raise falcon.HTTPLengthRequired(
            description="Missing Content-Length: send the body in one piece, not in chunks."
        )
    if (request.content_length or 0) > largest:
        raise falcon.HTTPContentTooLarge(description=f"Request is too large: the limit of a body is {largest} bytes.")
    try:
        raw = request.bounded_stream.read()
    except OSError as error:  # by which other WSGI servers report a client that stops or leaves
        raise falcon.HTTPError("408 Request Timeout", description="The body did not arrive in time.") from error
    if len(raw) < (request.content_length or 0):
        raise errors.InvalidRequest("the body is shorter than its Content-Length; send it whole")
    if not raw:
        raise errors.InvalidRequest("Missing body: send a JSON object.")
    if (request.content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise falcon.HTTPUnsupportedMediaType(
            description="Unsupported Content-Type: the body must be application/json."
        )
    if operation.is_batch:
        return bodies.parse(raw, schemas.BATCH, schemas.MOST_VALUES_OF_BATCH)
    return bodies.parse(raw, operation.body)


def _write_answer(response: falcon.Response, answer: Answer) -> None:
    response.status = answer.status
    for name, value in answer.headers.items():
        response.set_header(name, value)
    if answer.body is not None:
        response.content_type = "application/json"
        response.data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()


def _write_fault(response: falcon.Response, status: int, text: str) -> None:
    headers = faults.RETRY_LATER if status == 503 else {}
    _write_answer(response, Answer(status, faults.fault(status, text), headers))


def _answer_http_error(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    """Answer an error of falcon's own: unknown path, unknown method, too large body."""
    if response.get_header(requestids.HEADER) is None:  # falcon calls no middleware for the method WEBSOCKET
        AnswerHeaders().process_request(request, response)
    if isinstance(error, falcon.HTTPRouteNotFound):
        return _write_fault(response, error.status_code, _explain_missing(request.path))
    _write_fault(response, error.status_code, error.description or error.title or "The request can't be processed.")


def _explain_missing(path: str) -> str:
    """Return why no route has the path, as far as its parts show it."""
    _, root, project, *rest = [*path.split("/"), "", ""]
    is_project = ProjectConverter().convert(project) is not None
    if root == "v3" and rest[0] in _RESOURCES and project not in _RESOURCES and not is_project:
        return (
            f"The project id {cut(project)!r} in the path must have hexadecimal digits and hyphens only, such as "
            f"{EXAMPLE_PROJECT}."
        )
    return "The resource could not be found; GET /v3/openapi.json lists the paths that exist."


def _answer_refusal(request: Any, response: falcon.Response, error: errors.SnapmanageError, path: Any) -> None:
    """Answer an error from outside of a handler, whose text has no details of a backend."""
    _refuse(request, response, error, str(error))


def _refuse(request: Any, response: falcon.Response, error: errors.SnapmanageError, text: str) -> None:
    access.note(request.env, error=error.code)
    response.set_header(faults.CODE_HEADER, error.code)
    if isinstance(error, errors.NotAuthenticated):
        response.set_header("WWW-Authenticate", error.challenge)
    if isinstance(error, errors.TooManyRequests):
        response.set_header("Retry-After", str(error.retry_after_seconds))
    _write_fault(response, refusals.status_of(error), text)


def _answer_failure(request: Any, response: falcon.Response, error: Exception, path: Any) -> None:
    where = {"method": request.method, "path": request.path}
    if availability.database_away(error):
        LOG.warning("Database unavailable; a request is answered with 503: %s", fields(**where, reason=error))
        return _write_fault(response, 503, "The database can't be reached; try again later.")
    LOG.error("Request failed unexpectedly and is answered with 500: %s", fields(**where), exc_info=error)
    _write_fault(response, 500, "The server failed unexpectedly; its log has the reason under this request's id.")
