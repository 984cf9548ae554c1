"""Lists of volumes and snapshots over HTTP: projects, filters and order."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import falcon
import pytest

from snapmanage.api.access import callers
from snapmanage.api.access.callers import Caller
from snapmanage.api.defaults import TYPE_ID
from tests import examples
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, Client, fault
from tests.functional.world import OTHER_PROJECT, World, five_snapshots, running_world

SUMMARY = {"id", "name", "links"}
LISTS = ["volumes", "volumes/detail", "snapshots", "snapshots/detail"]


def administrator(request: falcon.Request, project_id: str | None) -> Caller:
    """Return a caller that is not bound to the project in the path."""
    return callers.identify(request, project_id, "root", "", ("admin",), bound=False)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Yield a client of a project with five snapshots in error and four volumes; another project has a volume."""
    with running_world(tmp_path_factory.mktemp("lists"), authenticate=administrator) as world:
        five_snapshots(world)
        for number, name in enumerate(("one", "two", "three")):
            world.driver.add_volume(name)
            world.register_volume(name, name=name, metadata={"number": str(number)})
        world.driver.add_volume("theirs")
        other = world.another_client(OTHER_PROJECT)
        assert other.manage_volume("theirs", name="theirs").status_code == 202
        other.close()
        yield world.client


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world with bound callers, and a volume, five snapshots and five user messages of a project."""
    with running_world(tmp_path_factory.mktemp("bound")) as world:
        five_snapshots(world)
        yield world


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world whose callers have tokens, with a volume and five snapshots of a project."""
    with running_world(tmp_path_factory.mktemp("guarded"), authenticate=by_token()) as world:
        world.client.headers |= token("admin", PROJECT)
        five_snapshots(world)
        yield world


def names(client: Client, path: str, version: str | None = None, **parameters: str) -> list[str]:
    answer = client.get(f"{path}?{urlencode(parameters)}", version=version)
    assert answer.status_code == 200, answer.text
    [entries] = [value for name, value in answer.json().items() if name in ("volumes", "snapshots")]
    return [entry["name"] for entry in entries]


def test_volumes_are_listed_newest_first(listed: Client) -> None:
    assert names(listed, "volumes") == ["three", "two", "one", None]
    assert names(listed, "volumes/detail") == ["three", "two", "one", None]


def test_list_of_volumes_shows_names_and_links_and_the_detailed_list_all_fields(listed: Client) -> None:
    [summary] = listed.get("volumes?name=one").json()["volumes"]
    [detail] = listed.get("volumes/detail?name=one").json()["volumes"]

    assert summary.keys() == SUMMARY
    assert {link["rel"]: link["href"] for link in summary["links"]} == {
        "self": f"{listed.root}/v3/{PROJECT}/volumes/{summary['id']}",
        "bookmark": f"{listed.root}/{PROJECT}/volumes/{summary['id']}",
    }
    assert detail == listed.volume(summary["id"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"name": "two"}, {"two"}),
        ({"display_name": "two"}, {"two"}),
        ({"status": "creating"}, set()),
        ({"metadata": '{"number": "2"}'}, {"three"}),
        ({"metadata": "{'number': '2'}"}, {"three"}),
        ({"bootable": "false"}, {"one", "two", "three", None}),
        ({"bootable": "True"}, set()),
        ({"availability_zone": "nova"}, {"one", "two", "three", None}),
        ({"availability_zone": "elsewhere"}, set()),
        ({"volume_type_id": TYPE_ID}, {"one", "two", "three", None}),
        ({"size": "1"}, {"one", "two", "three", None}),
        ({"size": "2"}, set()),
        ({"name": "two", "metadata": "{'number': '2'}"}, set()),
        ({"offset": "2"}, {"one", None}),
    ],
    ids=examples.parameter_id,
)
def test_volumes_are_filtered(listed: Client, query: dict[str, str], expected: set[str | None]) -> None:
    assert set(names(listed, "volumes/detail", **query)) == expected


@pytest.mark.parametrize("path", LISTS)
def test_record_is_found_by_its_name_in_each_form_of_the_filter(listed: Client, path: str) -> None:
    wanted = "two" if path.startswith("volumes") else "n2"

    for more in ({}, {"all_tenants": "1"}, {"all_tenants": "True"}, {"all_tenants": "True", "limit": "2"}):
        assert names(listed, path, name=wanted, **more) == [wanted]
    assert names(listed, path, name=wanted.upper()) == []


@pytest.mark.parametrize("path", ["volumes/two", "snapshots/n2", "snapshots/00000000-0000-0000-0000-000000000000"])
def test_name_in_place_of_an_id_is_not_found(listed: Client, path: str) -> None:
    assert fault(listed.get(path))[:2] == (404, "itemNotFound")


@pytest.mark.parametrize("path", LISTS)
def test_inexact_filter_works_from_its_microversion_on(listed: Client, path: str) -> None:
    part, whole = ("hre", "three") if path.startswith("volumes") else ("3", "n3")
    every = names(listed, path)

    assert names(listed, path, "3.31", **{"name~": part}) == [whole]
    assert names(listed, path, "3.31", **{"display_name~": part}) == [whole]
    assert names(listed, path, "3.31", **{"status~": "creat"}) == []
    assert names(listed, path, "3.31", **{"name~": "%"}) == []
    assert names(listed, path, "3.30", **{"name~": part}) == every


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"sort": "name"}, ["two", "three", "one", None]),
        ({"sort": "display_name:asc"}, [None, "one", "three", "two"]),
        ({"sort": "size:asc,name:asc"}, [None, "one", "three", "two"]),
        ({"sort_key": "created_at", "sort_dir": "asc"}, [None, "one", "two", "three"]),
        ({"sort_dir": "asc"}, [None, "one", "two", "three"]),
        ({"sort": "bootable:desc,name:asc"}, [None, "one", "three", "two"]),
        ({"sort": "availability_zone:asc"}, ["three", "two", "one", None]),
        ({"sort": "name:asc,name:desc"}, [None, "one", "three", "two"]),
    ],
    ids=examples.parameter_id,
)
def test_volumes_are_sorted_by_the_given_keys(
    listed: Client, order: dict[str, str], expected: list[str | None]
) -> None:
    assert names(listed, "volumes", **order) == expected


def test_snapshots_are_sorted_by_the_given_keys(listed: Client) -> None:
    assert names(listed, "snapshots", sort="name:asc") == ["n0", "n1", "n2", "n3", "n4"]
    assert names(listed, "snapshots/detail", sort="volume_size:asc,name:desc") == ["n4", "n3", "n2", "n1", "n0"]


@pytest.mark.parametrize("path", LISTS)
def test_linked_pages_join_up_in_any_order(listed: Client, path: str) -> None:
    seen: list[str] = []
    where = f"{path}?limit=2&sort=name:asc"

    while where:
        page = listed.get(where).json()
        [entries] = [page[kind] for kind in ("volumes", "snapshots") if kind in page]
        seen += [entry["name"] for entry in entries]
        assert len(seen) < 100, "the pages go round in circles"
        [link] = page.get("volumes_links", page.get("snapshots_links", [{"href": ""}]))
        where = link["href"].removeprefix(listed.root)

    assert seen == names(listed, path, sort="name:asc")


@pytest.mark.parametrize("path", LISTS)
def test_link_to_the_next_page_keeps_the_query(listed: Client, path: str) -> None:
    page = listed.get(f"{path}?limit=1&offset=1&status~=e&sort=name:asc&all_tenants=0", version="3.31").json()

    [link] = page.get("volumes_links") or page["snapshots_links"]
    [entries] = [page[kind] for kind in ("volumes", "snapshots") if kind in page]
    asked = dict(parse_qsl(urlsplit(link["href"]).query))
    assert link["rel"] == "next"
    assert asked == {
        "limit": "1",
        "status~": "e",
        "sort": "name:asc",
        "all_tenants": "0",
        "marker": entries[0]["id"],
    }


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sort=mass", ("sort key", "created_at", "name", "size")),
        ("sort=name,,size", ("sort key", "created_at")),
        ("sort_key=mass", ("sort key", "created_at")),
        ("sort=name:up", ("sort direction", "asc, desc")),
        ("sort_dir=up", ("sort direction", "asc, desc")),
        ("sort=name&sort_key=name", ("sort", "sort_key")),
        ("sort=name&sort_dir=asc", ("sort", "sort_dir")),
        ("metadata=x", ("metadata", "object")),
        ("metadata=[1]", ("metadata", "object")),
        ("metadata={'k':1}", ("metadata", "object")),
        ("metadata={{}:'v'}", ("metadata", "object")),
        ("metadata=" + "(" * 5000, ("metadata", "object")),
        ("metadata=" + "-" * 5000 + "1", ("metadata", "object")),
        ("metadata=" + "-" * 20000 + "1", ("metadata", "20001 characters", "8192")),
        ("marker=nobody", ("marker", "nobody")),
        ("all_tenants=perhaps", ("all_tenants", "true or false")),
        ("with_count=perhaps", ("with_count", "true or false")),
    ],
    ids=lambda given: str(given)[:40],
)
def test_malformed_parameter_is_refused_by_name(listed: Client, path: str, query: str, said: tuple[str, ...]) -> None:
    answer = listed.get(f"{path}?{query}", version="3.45")

    status, name, text = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert all(part in text for part in said), text


@pytest.mark.parametrize("size", ["big", "-1", "1.5", "99999999999999999999"])
def test_malformed_size_is_refused(listed: Client, size: str) -> None:
    assert "size" in fault(listed.get(f"volumes?size={size}"))[2]


def test_messages_are_sorted_from_their_microversion_on(listed: Client) -> None:
    newest_first = listed.get("messages", version="3.4", params={"sort": "created_at:asc"}).json()["messages"]
    oldest_first = listed.get("messages", version="3.5", params={"sort": "created_at:asc"}).json()["messages"]

    assert len(oldest_first) == 5
    assert oldest_first == newest_first[::-1]


@pytest.mark.parametrize("value", ["1", "True", "true"])
def test_administrator_lists_every_projects_volumes(listed: Client, value: str) -> None:
    assert names(listed, "volumes", all_tenants=value) == ["theirs", "three", "two", "one", None]
    assert names(listed, "volumes", all_tenants=value, project_id=OTHER_PROJECT) == ["theirs"]
    assert "theirs" not in names(listed, "volumes", all_tenants="0")
    assert "theirs" not in names(listed, "volumes", project_id=OTHER_PROJECT)


def test_administrator_lists_every_projects_snapshots_and_messages(listed: Client) -> None:
    stranger = Client(listed.root.removeprefix("http://"), OTHER_PROJECT, "3.5")

    snapshots = names(stranger, "snapshots"), names(stranger, "snapshots", all_tenants="1")
    pages = [stranger.get(f"messages{query}").json()["messages"] for query in ("", "?all_tenants=1")]

    stranger.close()
    assert snapshots == ([], ["n4", "n3", "n2", "n1", "n0"])
    assert [len(each) for each in pages] == [0, 5]


def test_pages_of_every_project_join_up(listed: Client) -> None:
    first = listed.get("volumes?all_tenants=1&limit=1").json()

    [link] = first["volumes_links"]
    rest = listed.get(link["href"].removeprefix(listed.root).replace("limit=1", "limit=9")).json()
    assert [each["name"] for each in first["volumes"] + rest["volumes"]] == ["theirs", "three", "two", "one", None]


@pytest.mark.parametrize("path", LISTS)
def test_count_is_of_all_pages(listed: Client, path: str) -> None:
    number = 4 if path.startswith("volumes") else 5

    assert listed.get(f"{path}?with_count=1&limit=1", version="3.45").json()["count"] == number
    assert listed.get(f"{path}?with_count=True&limit=0", version="3.45").json()["count"] == number
    assert "count" not in listed.get(f"{path}?with_count=1", version="3.44").json()
    assert "count" not in listed.get(path, version="3.45").json()


def test_count_respects_the_filters(listed: Client) -> None:
    counts = [
        listed.get(f"volumes?with_count=1&{query}", version="3.45").json()["count"]
        for query in ("name=two", "all_tenants=1", "metadata={'number':'1'}", "bootable=true")
    ]

    assert counts == [1, 5, 1, 0]


@pytest.mark.parametrize("query", ["", "all_tenants=0", f"project_id={PROJECT}", f"all_tenants=0&project_id={PROJECT}"])
def test_bound_caller_lists_only_its_project_without_all_tenants(bound: World, query: str) -> None:
    stranger = bound.another_client(OTHER_PROJECT, "3.45")

    seen = [stranger.get(f"{path}?{query}&with_count=1").json() for path in (*LISTS, "messages")]

    stranger.close()
    assert [each for answer in seen for each in answer.values()] == [[], 0, [], 0, [], 0, [], 0, []]


@pytest.mark.parametrize("query", ["all_tenants=1", f"all_tenants=True&project_id={PROJECT}"])
def test_bound_administrator_lists_every_project_with_all_tenants(bound: World, query: str) -> None:
    """Each caller of `noauth` and `http_basic` is an administrator, of the project in its path."""
    stranger = bound.another_client(OTHER_PROJECT, "3.45")

    seen = [stranger.get(f"{path}?{query}").json()[path.partition("/")[0]] for path in (*LISTS, "messages")]

    stranger.close()
    assert [len(each) for each in seen] == [1, 1, 5, 5, 5]


@pytest.mark.parametrize("path", [*LISTS, "messages"])
@pytest.mark.parametrize("query", ["all_tenants=1", "all_tenants=perhaps", f"all_tenants=1&project_id={PROJECT}"])
def test_all_tenants_is_ignored_for_a_caller_who_is_no_administrator(guarded: World, path: str, query: str) -> None:
    """The cinder client sends it with each look-up by name."""
    reader = guarded.another_client(OTHER_PROJECT, "3.45")
    reader.headers |= token("reader", OTHER_PROJECT)

    answer = reader.get(f"{path}?{query}").json()

    reader.close()
    assert list(answer.values()) == [[]]


@pytest.mark.parametrize("path", ["volumes", "snapshots", "messages"])
def test_marker_of_another_project_is_refused(bound: World, path: str) -> None:
    mine = bound.client.get(path, version="3.5").json()[path][0]["id"]
    stranger = bound.another_client(OTHER_PROJECT, "3.5")

    answer = stranger.get(f"{path}?marker={mine}")

    stranger.close()
    assert fault(answer)[:2] == (400, "badRequest")
