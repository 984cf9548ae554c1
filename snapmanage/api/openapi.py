"""The OpenAPI 3.1 document of the API, made from the routes table and the schemas that check requests."""

import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from snapmanage.api import answers, etags, requestids, schemas, versions
from snapmanage.api.access import policy
from snapmanage.api.answers import faults
from snapmanage.api.handlers import batches
from snapmanage.api.parameters import Parameter
from snapmanage.api.route import Operation, Route, Table
from snapmanage.api.versions import MINIMUM, Version
from snapmanage.core import idempotency

Json = dict[str, Any]

# Statuses of refusals: every request, authenticated ones, ones with a body, ones that create a record.
EVERY = (400, 405, 408, 411, 413, 414, 500, 503)
PROTECTED = (401, 403, 404, 406, 429)
WITH_BODY = (415,)
KEYED = (409, 422)
FAULT_HEADERS = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}

_ABOUT = """Manage snapshots that exist on a storage backend, in the shape of the Block Storage API v3.

Each path exists with and without the project id; without it, the token's project is used.
`OpenStack-API-Version: volume 3.x` selects a microversion from {minimum} to {maximum}; the default is {minimum}.
Below its microversion a path is not found, and a parameter is ignored. Lists refuse unknown parameters."""
_TEXT = {"type": "string"}
_ID = {"type": "string", "format": "uuid"}
_PATH = {
    "project_id": {"type": "string", "pattern": "^[0-9a-fA-F-]{1,255}$"},
    "snapshot_id": _ID,
    "volume_id": _ID,
    "message_id": _ID,
    "key": {"type": "string", "pattern": schemas.KEY_PATTERN},
    "target_project_id": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "volume_type_id": _ID,
}
# The parameters that operations share, by reference name.
_SHARED_PARAMETERS: Json = {
    **{name: {"name": name, "in": "path", "required": True, "schema": schema} for name, schema in _PATH.items()},
    "microversion": {
        "name": versions.HEADER,
        "in": "header",
        "description": "The microversion of the request, and perhaps the version of snapmanage's own fields.",
        "schema": {
            "type": "string",
            "pattern": rf"^{versions.SERVICE} ({MINIMUM.major}\.[0-9]{{1,2}}|latest)"
            rf"(, {versions.OWN_SERVICE} ({versions.OWN.major}\.0|latest))?$",
            "examples": [versions.header(versions.MAXIMUM), versions.header(versions.MAXIMUM, versions.OWN)],
        },
    },
    "if_none_match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETags of earlier answers, or *; if the answer has one of them, it is a 304 without a body.",
        "schema": {"type": "string"},
    },
    "idempotency_key": {
        "name": idempotency.HEADER,
        "in": "header",
        "description": "A request that is repeated with the same key is carried out once. "
        "Use a new UUID for each new request.",
        "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
    },
    "batch_key": {
        "name": idempotency.HEADER,
        "in": "header",
        "description": "Entry i without a key of its own gets the key KEY/i. Use a new UUID for each new batch.",
        "schema": {"type": "string", "pattern": f"^[ -~]{{1,{batches.LONGEST_KEY}}}$"},
    },
}
_HEADERS = {
    requestids.HEADER: "The id of this request in the service's log.",
    versions.HEADER: "The microversion of the answer.",
    "WWW-Authenticate": "The authentication scheme that the service accepts.",
    etags.HEADER: "The digest of the answer's body, for If-None-Match.",
    "Allow": "The methods that the path has.",
    "Retry-After": "The number of seconds to wait before a retry.",
    faults.CODE_HEADER: "The code of the error. A refusal of the HTTP layer, such as of an unknown path, has none.",
}
_OPTIONAL_HEADERS = {faults.CODE_HEADER}
_NOT_MODIFIED: Json = {
    "description": "The answer is as the ETag in the request says.",
    "headers": {
        name: {"$ref": f"#/components/headers/{name}"} for name in (requestids.HEADER, versions.HEADER, etags.HEADER)
    },
}
_SECURITY_SCHEMES: Json = {
    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A token of Keystone."},
    "basic": {"type": "http", "scheme": "basic"},
}
_SUMMARIES = {
    "/": "List the API versions as choices.",
    "/v3": "List the API versions.",
    "/v3/openapi.json": "Return this document.",
    "/healthcheck": "Report whether the service can process requests.",
}
_BATCH = "Manage many snapshots that exist on backends, each with an outcome of its own."
# The descriptions of the policies by name.
_RULES: Mapping[str | None, str] = {rule.name: rule.description or "" for rule in policy.list_rules()}


def document(root: Table, project: Table) -> bytes:
    """Return the document as JSON; `root` and `project` are the tables of `routes`."""
    return json.dumps(described(root, project)).encode()


def described(root: Table, project: Table) -> Json:
    prefixed = {f"/v3{prefix}{path}": route for path, route in project.items() for prefix in ("", "/{project_id}")}
    routes = dict(root) | prefixed
    tags = {_tag(operation) for route in routes.values() for operation in route.methods.values()}
    return {
        "openapi": "3.1.0",
        "info": _info(),
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted(tags)],
        "paths": {path: _path(path, route) for path, route in routes.items()},
        "components": {
            "schemas": answers.SCHEMAS,
            "parameters": _SHARED_PARAMETERS,
            "headers": {
                name: {"description": about, "required": name not in _OPTIONAL_HEADERS, "schema": _TEXT}
                for name, about in _HEADERS.items()
            },
            "responses": {str(status): _fault(status) for status in (*EVERY, *PROTECTED, *WITH_BODY, *KEYED)}
            | {"304": _NOT_MODIFIED},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _info() -> Json:
    return {
        "title": "snapmanage",
        "version": importlib.metadata.version("snapmanage"),
        "description": _ABOUT.format(minimum=MINIMUM, maximum=versions.MAXIMUM),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _path(path: str, route: Route) -> Json:
    ids = [_ref("parameters", name) for name in re.findall(r"{(\w+)}", path)]
    operations = {method.lower(): _operation(path, method, each, route.since) for method, each in route.methods.items()}
    return operations | ({"parameters": ids} if ids else {})


def _operation(path: str, method: str, operation: Operation, since: Version) -> Json:
    made: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").rstrip("_"),
        "summary": _summary(path, operation),
        "tags": [_tag(operation)],
        "parameters": [*map(_query, operation.query), *_shared_parameters(method, operation)],
        "responses": _responses(method, operation),
        "security": [{"token": []}, {"basic": []}, {}] if operation.rules else [],
    }
    if operation.rules:
        made["description"] = " ".join(f"Policy `{rule}`{_of_action(operation, rule)}." for rule in operation.rules)
    if since > MINIMUM:
        made |= {
            "x-min-microversion": str(since),
            "description": f"{made['description']} From microversion {since} on.",
        }
    if operation.body:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body.schema}}}
    return made


def _summary(path: str, operation: Operation) -> str:
    if operation.is_batch:
        return _BATCH
    return _SUMMARIES.get(path) or " ".join(_RULES[rule] for rule in operation.rules)


def _shared_parameters(method: str, operation: Operation) -> Iterator[Json]:
    """Yield the headers that requests may have."""
    if operation.rules:
        yield _ref("parameters", "microversion")
    if _has_etag(method, operation):
        yield _ref("parameters", "if_none_match")
    if operation.keyed:
        yield _ref("parameters", "batch_key" if operation.is_batch else "idempotency_key")
    if operation.id_header:
        yield _chosen_id(operation.id_header)


def _has_etag(method: str, operation: Operation) -> bool:
    return bool(operation.rule) and method == "GET"


def _chosen_id(header: str) -> Json:
    about = "The id of the new record: a UUID that no record has or had."
    return {"name": header, "in": "header", "description": about, "schema": _ID}


def _of_action(operation: Operation, rule: str) -> str:
    return "".join(f" of `{action}`" for action, its_rule in operation.actions.items() if its_rule == rule)


def _query(parameter: Parameter) -> Json:
    made: Json = {"name": parameter.name, "in": "query", "schema": parameter.schema}
    if parameter.since == MINIMUM:
        return made | {"description": parameter.description}
    about = f"{parameter.description} From microversion {parameter.since} on."
    return made | {"description": about, "x-min-microversion": str(parameter.since)}


def _responses(method: str, operation: Operation) -> Json:
    has_etag = _has_etag(method, operation)
    headers = _headers(*([etags.HEADER] if has_etag else []))
    successes: Json = {"304": _ref("responses", "304")} if has_etag else {}
    for status, schema in operation.answers.items():
        description = "Success." if status < 400 else "Temporarily unavailable."
        content = {"content": _json(_ref("schemas", schema))} if schema else {}
        successes[str(status)] = {"description": description, "headers": headers} | content
    refusals = {*EVERY, *(PROTECTED if operation.rules else ())}
    # A batch has these statuses in its entries.
    keyed = KEYED if operation.keyed and not operation.is_batch else ()
    refusals |= {*(WITH_BODY if operation.body else ()), *keyed}
    refusals -= operation.answers.keys()
    return successes | {str(status): _ref("responses", str(status)) for status in sorted(refusals)}


def _headers(*more: str) -> Json:
    return {name: _ref("headers", name) for name in (requestids.HEADER, versions.HEADER, *more)}


def _fault(status: int) -> Json:
    names = [requestids.HEADER, faults.CODE_HEADER, *([FAULT_HEADERS[status]] if status in FAULT_HEADERS else [])]
    return {
        "description": "Refused; the message has the reason.",
        "headers": {name: _ref("headers", name) for name in names},
        "content": _json(faults.fault_schema(status)),
    }


def _json(schema: Mapping[str, Any]) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _tag(operation: Operation) -> str:
    return operation.handler.__module__.rpartition(".")[2]
