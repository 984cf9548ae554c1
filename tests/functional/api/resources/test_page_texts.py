"""Pages of manageable objects whose text the server writes, beside servers and APIs of earlier releases."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from snapmanage.api.access import policy
from snapmanage.cmd.wiring import middleware
from snapmanage.volume.endpoint import Endpoint
from tests.functional.api.access.test_policy import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER, Client
from tests.functional.world import World, running_world

OWN = {"OpenStack-API-Version": "volume 3.65, snapmanage 1.0"}
RULES = (policy.LIST_MANAGEABLE, policy.LIST_MANAGEABLE_VOLUMES)
METHODS = ("get_manageable_snapshots", "get_manageable_volumes")
# The arguments that each earlier release does not know.
EARLIER = (("text",), ("own_fields", "text"))
LISTS = [
    f"{path}{detail}?host={SERVER}{query}"
    for path in ("os-snapshot-manage", "os-volume-manage")
    for detail in ("", "/detail")
    for query in (
        "",
        "&limit=1",
        "&limit=2&offset=1",
        "&limit=3",
        "&offset=9",
        "&sort=size:asc",
        "&safe_to_manage=true",
    )
]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a backend with an object of each kind: free, managed, in use, with odd names."""
    folder = tmp_path_factory.mktemp("texts")
    rules = "".join(f'"{rule}": "role:admin or role:member"\n' for rule in RULES)
    permissive = middleware.policy(configured(folder, rules))
    with running_world(folder, authenticate=by_token(), policy=permissive) as world:
        world.client.headers |= token("admin", PROJECT)
        world.manage_snapshot(world.register_volume(), "volume-1-snapshot-1")
        world.driver.add_volume('odd "volume"\\\u202e')
        world.driver.add_volume("\U0001f4be\x7f\n'")
        yield world


@pytest.fixture(scope="module")
def member(listed: World) -> Iterator[Client]:
    client = listed.another_client()
    client.headers |= token("member", PROJECT)
    yield client
    client.close()


def without(method: Callable[..., Any], unknown: Sequence[str]) -> Callable[..., Any]:
    """Return a method of an earlier release, which refuses the arguments that it does not know."""

    def earlier(endpoint: Endpoint, ctxt: Any, **arguments: Any) -> Any:
        for name in (each for each in unknown if each in arguments):
            raise TypeError(f"{method.__name__}() got an unexpected keyword argument {name!r}")
        return method(endpoint, ctxt, **arguments)

    return earlier


@pytest.mark.parametrize("unknown", EARLIER, ids="-".join)
@pytest.mark.parametrize("path", LISTS)
def test_server_of_an_earlier_release_gives_the_same_answer(
    listed: World, member: Client, monkeypatch: pytest.MonkeyPatch, path: str, unknown: Sequence[str]
) -> None:
    headers: dict[str, str] = {} if "own_fields" in unknown else OWN
    now = [client.get(path, headers=headers) for client in (listed.client, member)]
    for name in METHODS:
        monkeypatch.setattr(Endpoint, name, without(getattr(Endpoint, name), unknown))

    earlier = [client.get(path, headers=headers) for client in (listed.client, member)]

    assert [each.status_code for each in now] == [200, 200]
    assert [each.content for each in earlier] == [each.content for each in now]
    assert [each.headers["ETag"] for each in earlier] == [each.headers["ETag"] for each in now]


@pytest.mark.parametrize("name", METHODS)
def test_api_of_an_earlier_release_gets_entries(listed: World, name: str) -> None:
    arguments = {"marker": None, "limit": 2, "offset": 0, "sort_keys": ["reference"], "sort_dirs": ["asc"]}

    entries = listed.bus.call(SERVER, name, arguments, {})

    assert len(entries) == 2
    assert all(isinstance(entry["reference"]["source-name"], str) for entry in entries)


def test_page_is_written_by_the_server_alone(listed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []
    method = Endpoint.get_manageable_snapshots

    def noting(endpoint: Endpoint, ctxt: Any, **arguments: Any) -> Any:
        answers.append(method(endpoint, ctxt, **arguments))
        return answers[-1]

    monkeypatch.setattr(Endpoint, "get_manageable_snapshots", noting)

    answer = listed.client.get(f"os-snapshot-manage?host={SERVER}&limit=1")

    [written] = answers
    assert written.keys() == {"entries", "last", "has_next"}
    assert written["has_next"]
    assert len(answer.json()["manageable-snapshots"]) == 1


@pytest.mark.parametrize("answer", [{}, {"entries": "no base64", "last": None, "has_next": False}, "text", None])
def test_answer_in_an_unknown_form_is_refused_with_the_remedy(
    listed: World, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(Endpoint, "get_manageable_snapshots", lambda endpoint, ctxt, **arguments: answer)

    refused = listed.client.get(f"os-snapshot-manage?host={SERVER}")

    assert refused.status_code == 503
    assert "answered in an unknown form; install the snapmanage of this API there" in refused.text
