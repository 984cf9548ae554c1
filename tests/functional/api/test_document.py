"""The OpenAPI document describes all operations and no others, and every answer matches it.

schemathesis makes the requests, from the document alone; a world with something in it answers them.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import falcon
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase
from schemathesis.specs.openapi import checks
from schemathesis.specs.openapi.schemas import OpenApiSchema

from snapmanage.api import openapi, routes
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.noauth import NoAuth
from snapmanage.api.defaults import TYPE_ID
from tests.functional.client import PROJECT, SERVER
from tests.functional.world import World, running_world

# Raise it for an occasional long run.
EXAMPLES = int(os.environ.get("SNAPMANAGE_TEST_REQUESTS", "4"))
CONFORMANCE = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
]
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
DOCUMENT = openapi.described(routes.ROOT, routes.PROJECT)
PROJECT_IN_PATH = r"^/v3/\{project_id\}"
# Each operation is a subtest. As a test of its own, each process of a run would make the requests of all operations
# while it collects the tests, which takes ten seconds.
WITHOUT_PROJECT = schemathesis.pytest.from_fixture("schema").exclude(path_regex=PROJECT_IN_PATH)
WITH_PROJECT = schemathesis.pytest.from_fixture("brief_schema").include(path_regex=PROJECT_IN_PATH)


@pytest.fixture(scope="module")
def schema() -> OpenApiSchema:
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def brief_schema() -> OpenApiSchema:
    """Return the schema for the operations with a project in the path: they need fewer examples."""
    made = schemathesis.openapi.from_dict(DOCUMENT)
    made.config.phases.coverage.enabled = False
    return made


@pytest.fixture(scope="module")
def filled_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, str]]]:
    """Yield a world with a volume, snapshots and user messages, and the id of one of each."""
    with running_world(tmp_path_factory.mktemp("filled_world"), authenticate=overseer) as world:
        volume = world.register_volume()
        doomed = world.manage_snapshot(volume, "volume-1-snapshot-1")
        failed = world.request_manage(volume, "nowhere")
        world.await_settled(failed)
        [message] = world.client.messages(failed)
        known = {"volume_id": volume, "snapshot_id": failed, "message_id": message["id"], "key": "k", "doomed": doomed}
        yield world, known


def overseer(request: falcon.Request, project_id: str | None) -> Caller:
    """Make each caller an administrator of all projects; for other callers some parameters are ignored."""
    return replace(NoAuth()(request, project_id), bound=False)


def test_document_needs_no_authentication(shared: World) -> None:
    answer = shared.client.get("/v3/openapi.json", headers={"OpenStack-API-Version": "volume 3.99"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == DOCUMENT


def test_document_is_made_at_the_first_request() -> None:
    loaded = "import sys, snapmanage.api.app; sys.exit('snapmanage.api.openapi' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0


def test_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_document_describes_every_operation_and_no_other() -> None:
    documented = {(path, method.upper()) for path, each in DOCUMENT["paths"].items() for method in each}
    there_are = {(path, method) for path, route in routes.ROOT.items() for method in route.methods} | {
        (f"/v3{project}{path}", method)
        for path, route in routes.PROJECT.items()
        for project in ("", "/{project_id}")
        for method in route.methods
    }

    assert {each for each in documented if each[1] != "PARAMETERS"} == there_are


def test_operation_ids_are_unique() -> None:
    ids = [each["operationId"] for each in operations()]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"\w+", each) for each in ids)


def test_every_operation_has_a_summary_and_its_answers() -> None:
    for each in operations():
        assert each["summary"].endswith(".")
        assert each["tags"]
        assert {"400", "500"} < each["responses"].keys()


def test_paths_of_a_later_microversion_name_it() -> None:
    [later] = [each for each in operations() if each["operationId"] == "post_v3_manageable_snapshots"]

    assert later["x-min-microversion"] == "3.8"
    assert "From microversion 3.8 on." in later["description"]


def operations() -> list[dict[str, Any]]:
    return [each for path in DOCUMENT["paths"].values() for method, each in path.items() if method in ("get", "post")]


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Keep the connection between requests; schemathesis opens one for each request."""
    with requests.Session() as made:
        made.trust_env = False  # else requests looks for proxies and a netrc file for each request
        yield made


@WITHOUT_PROJECT.parametrize()
@BOUNDED
def test_every_answer_matches_the_document(
    filled_world: tuple[World, dict[str, str]], session: requests.Session, case: schemathesis.Case[Any]
) -> None:
    world, known = filled_world
    make_likely(case, known)

    case.call_and_validate(base_url=world.client.root, session=session, checks=[*CONFORMANCE, *rejection(case)])


@WITH_PROJECT.parametrize()
@BOUNDED
def test_every_answer_matches_the_document_with_the_project_in_the_path(
    filled_world: tuple[World, dict[str, str]], session: requests.Session, case: schemathesis.Case[Any]
) -> None:
    world, known = filled_world
    make_likely(case, known)

    case.call_and_validate(base_url=world.client.root, session=session, checks=[*CONFORMANCE, *rejection(case)])


def make_likely(case: schemathesis.Case[Any], known: dict[str, str]) -> None:
    """Replace ids in well-formed requests by ids of existing records."""
    case.headers["X-Auth-Token"] = f"ann:{PROJECT}"
    if not odd_headers(case) and (in_coverage(case) or is_wrong(case)):
        case.headers["OpenStack-API-Version"] = "volume 3.71"  # below, what is wrong may be ignored
    if is_wrong(case):
        return
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())  # one key for all would let one request through
    asked = known | {"project_id": PROJECT, "target_project_id": PROJECT, "volume_type_id": TYPE_ID}
    asked |= {"snapshot_id": known["doomed"]} if case.method == "POST" else {}
    case.path_parameters = {name: asked[name] for name in case.path_parameters}
    case.query = likely_query(case, known)
    for header in ("Snapmanage-Snapshot-Id", "Snapmanage-Volume-Id"):
        if header in case.headers:
            case.headers[header] = str(uuid.uuid4())
    body: Any = case.body
    if case.path.endswith(("/os-snapshot-manage", "/manageable_snapshots")) and case.method == "POST":
        body["snapshot"]["volume_id"] = known["volume_id"]
    elif case.path.endswith("/metadata/{key}") and case.method == "PUT":
        body["meta"] = {known["key"]: next(iter(body["meta"].values()))}
    elif case.path.endswith("/batch"):
        for entry in body["snapshots"]:
            entry["volume_id"] = known["volume_id"]
    elif case.path.endswith("/os-volume-manage") and case.method == "POST":
        body["volume"]["host"] = SERVER


def likely_query(case: schemathesis.Case[Any], known: dict[str, str]) -> dict[str, Any]:
    """Return the query of a list without contradictory parameters and with meaningful values."""
    listed = re.search("/(snapshot|volume|message)s", case.path)
    reference = json.dumps({"source-name": "volume-1" if "volume" in case.path else "volume-1-snapshot-2"})
    meant = {
        "host": SERVER,
        "metadata": '{"key": "value"}',
        "marker": known[f"{listed[1]}_id"] if listed else reference,
    }
    other = {"sort_key", "sort_dir"} if "sort" in case.query else set()
    other |= {"cluster"} if "host" in case.query else set()
    return {name: meant.get(name, value) for name, value in case.query.items() if name not in other}


def rejection(case: schemathesis.Case[Any]) -> list[Any]:
    """Check that malformed requests are refused; unknown headers are ignored."""
    if odd_headers(case):
        return []
    return [refused_in_part if case.path.endswith("/batch") else checks.negative_data_rejection]


def refused_in_part(context: Any, response: Any, case: schemathesis.Case[Any]) -> None:
    """Check that a malformed batch is refused, or the entries of it that are malformed."""
    if is_wrong(case) and response.status_code == 207:
        assert 400 in [each["status"] for each in response.json()["snapshots"]], response.text


def is_wrong(case: schemathesis.Case[Any]) -> bool:
    return case.meta is None or case.meta.generation.mode.is_negative


def in_coverage(case: schemathesis.Case[Any]) -> bool:
    """Return whether a case is about a single parameter; such a case has odd headers too."""
    return case.meta is not None and case.meta.phase.name is TestPhase.COVERAGE


def odd_headers(case: schemathesis.Case[Any]) -> bool:
    """Return whether only the headers of a request are malformed."""
    if case.meta is None or in_coverage(case):
        looked_at = getattr(case.meta and case.meta.phase.data, "parameter_location", None)
        return looked_at is ParameterLocation.HEADER
    headers = case.meta.components.get(ParameterLocation.HEADER)
    return headers is not None and headers.mode.is_negative
