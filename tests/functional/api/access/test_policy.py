"""Policies over HTTP: roles, projects, and the operator's policy file."""

import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import requests
from oslo_config import cfg
from oslo_policy.policy import Enforcer

from snapmanage import errors
from snapmanage.api.access import policy
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.policy import Policy
from snapmanage.cmd.wiring import middleware
from snapmanage.core.records import Requester
from tests import examples
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER, Client, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

ADMIN = token("admin", PROJECT)
OTHER_ADMIN = token("admin", OTHER_PROJECT)
READER = token("reader", PROJECT)
OTHER_READER = token("reader", OTHER_PROJECT)
SNAPSHOT = "volume-1-snapshot-1"


class TokenClient(Client):
    """A client with a token."""

    def __init__(self, address: str, headers: dict[str, str], project: str = PROJECT) -> None:
        super().__init__(address, project)
        self.session.headers.update(headers)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world with token authentication."""
    with running_world(tmp_path_factory.mktemp("guarded"), authenticate=by_token()) as world:
        world.client.session.headers.update(ADMIN)
        yield world


@pytest.fixture(scope="module")
def volume_id(guarded: World) -> str:
    return guarded.register_volume()


@pytest.fixture(scope="module")
def snapshot_id(guarded: World, volume_id: str) -> str:
    return guarded.manage_snapshot(volume_id, SNAPSHOT)


def every_operation(volume_id: str, snapshot_id: str) -> dict[str, tuple[str, str, object]]:
    """Return a valid request for each policy."""
    manage = {"snapshot": {"volume_id": volume_id, "ref": "nowhere"}}
    return {
        policy.MANAGE: ("POST", "os-snapshot-manage", manage),
        policy.UNMANAGE: ("POST", f"snapshots/{snapshot_id}/action", {"os-unmanage": None}),
        policy.RETRY: ("POST", f"snapshots/{snapshot_id}/action", {"retry": None}),
        policy.UNMANAGE_VOLUME: ("POST", f"volumes/{volume_id}/action", {"os-unmanage": None}),
        policy.RETRY_VOLUME: ("POST", f"volumes/{volume_id}/action", {"retry": None}),
        policy.LIST_MANAGEABLE: ("GET", f"os-snapshot-manage/detail?host={SERVER}", None),
        policy.LIST_MANAGEABLE_VOLUMES: ("GET", f"os-volume-manage/detail?host={SERVER}", None),
        policy.MANAGE_VOLUME: ("POST", "os-volume-manage", {"volume": {"host": SERVER, "ref": "v"}}),
        policy.GET_SNAPSHOT: ("GET", f"snapshots/{snapshot_id}", None),
        policy.GET_SNAPSHOTS: ("GET", "snapshots/detail", None),
        policy.GET_OPERATION: ("GET", f"snapshots/{snapshot_id}/operation", None),
        policy.GET_VOLUME: ("GET", f"volumes/{volume_id}", None),
        policy.GET_MESSAGES: ("GET", "messages", None),
        policy.GET_EXTENSIONS: ("GET", "extensions", None),
    }


CHANGING = [
    policy.MANAGE,
    policy.LIST_MANAGEABLE,
    policy.LIST_MANAGEABLE_VOLUMES,
    policy.MANAGE_VOLUME,
]
# The actions of a path, whose policies are named together: the body is read only for callers who may do one of them.
ACTIONS = [(policy.UNMANAGE, policy.RETRY), (policy.UNMANAGE_VOLUME, policy.RETRY_VOLUME)]
SHOWING = [
    policy.GET_SNAPSHOT,
    policy.GET_SNAPSHOTS,
    policy.GET_OPERATION,
    policy.GET_VOLUME,
    policy.GET_MESSAGES,
    policy.GET_EXTENSIONS,
]


def send(client: Client, operation: tuple[str, str, object], **headers: str) -> requests.Response:
    method, path, body = operation
    more = {} if body is None else {"json": body}
    return client.request(method, path, version="3.5", headers=headers, **more)


@pytest.mark.parametrize("rule", SHOWING)
@pytest.mark.parametrize("role", ["reader", "member", "Member,reader"])
def test_reader_and_member_see_the_records_of_their_project(
    guarded: World, volume_id: str, snapshot_id: str, role: str, rule: str
) -> None:
    answer = send(guarded.client, every_operation(volume_id, snapshot_id)[rule], **token(role, PROJECT))

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("rule", CHANGING)
@pytest.mark.parametrize("role", ["reader", "member", "service", ""])
def test_only_administrators_manage_snapshots(
    guarded: World, volume_id: str, snapshot_id: str, role: str, rule: str
) -> None:
    answer = send(guarded.client, every_operation(volume_id, snapshot_id)[rule], **token(role, PROJECT))

    assert fault(answer) == (403, "forbidden", f"Policy doesn't allow {rule} to be performed.")


@pytest.mark.parametrize("rules", ACTIONS)
@pytest.mark.parametrize("role", ["reader", "member", "service", ""])
def test_only_administrators_act_on_records(
    guarded: World, volume_id: str, snapshot_id: str, role: str, rules: tuple[str, str]
) -> None:
    for rule in rules:
        answer = send(guarded.client, every_operation(volume_id, snapshot_id)[rule], **token(role, PROJECT))

        text = f"Policy doesn't allow {' or '.join(rules)} to be performed."
        assert fault(answer) == (403, "forbidden", text)


@pytest.mark.parametrize("rule", [rule for rule in SHOWING if rule != policy.GET_EXTENSIONS])
def test_caller_without_a_role_sees_nothing(guarded: World, volume_id: str, snapshot_id: str, rule: str) -> None:
    answer = send(guarded.client, every_operation(volume_id, snapshot_id)[rule], **token("other", PROJECT))

    assert fault(answer) == (403, "forbidden", f"Policy doesn't allow {rule} to be performed.")


def test_reader_of_another_project_finds_nothing(guarded: World, volume_id: str, snapshot_id: str) -> None:
    other = TokenClient(guarded.client.root.removeprefix("http://"), OTHER_READER, OTHER_PROJECT)

    shown = [other.get(path).status_code for path in (f"snapshots/{snapshot_id}", f"volumes/{volume_id}")]

    assert shown == [404, 404]
    assert other.get("snapshots").json() == {"snapshots": []}


def test_administrator_sees_and_unmanages_records_of_all_projects(tmp_path: Path) -> None:
    with running_world(tmp_path, authenticate=by_token()) as world:
        world.client.session.headers.update(ADMIN)
        snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
        other = TokenClient(world.client.root.removeprefix("http://"), OTHER_ADMIN, OTHER_PROJECT)

        assert other.snapshot(snapshot_id)["os-extended-snapshot-attributes:project_id"] == PROJECT
        assert other.unmanage(snapshot_id).status_code == 202
        world.await_unmanaged(snapshot_id)


def test_authentication_comes_before_policy_and_policy_before_the_body(guarded: World) -> None:
    broken: dict[str, object] = {"json": {"snapshot": {}}}

    answers = [
        guarded.client.post("os-snapshot-manage", headers={"X-Auth-Token": "garbage"}, **broken),
        guarded.client.post("os-snapshot-manage", headers=READER, **broken),
        guarded.client.post("os-snapshot-manage", headers=ADMIN, **broken),
    ]

    assert [fault(answer)[:2] for answer in answers] == [
        (401, "unauthorized"),
        (403, "forbidden"),
        (400, "badRequest"),
    ]


def configured(folder: Path, rules: str | None, named: str | None = None) -> cfg.ConfigOpts:
    """Write a configuration, and a policy file beside it if rules are given."""
    if rules is not None:
        (folder / (named or "policy.yaml")).write_text(rules)
    file = folder / "snapmanage.conf"
    file.write_text(f"[oslo_policy]\npolicy_file = {named}\n" if named else "")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)], default_config_files=[], default_config_dirs=[])
    return conf


@pytest.mark.parametrize("rules", ACTIONS)
def test_policy_file_allows_one_action_without_the_other(tmp_path: Path, rules: tuple[str, str]) -> None:
    forbidden, allowed = rules
    file = f'"{allowed}": "role:member and project_id:%(project_id)s"\n'
    with running_world(
        tmp_path, authenticate=by_token(), policy=middleware.policy(configured(tmp_path, file))
    ) as world:
        operations = every_operation(examples.VOLUME_ID, examples.SNAPSHOT_ID)

        answers = {rule: send(world.client, operations[rule], **token("member", PROJECT)) for rule in rules}

    assert answers[allowed].status_code == 404
    assert fault(answers[forbidden])[2] == f"Policy doesn't allow {forbidden} to be performed."


def test_policy_file_overrides_one_rule_and_keeps_the_others(tmp_path: Path) -> None:
    file = f'"{policy.MANAGE_VOLUME}": "role:member and project_id:%(project_id)s"\n"{policy.GET_MESSAGES}": "!"\n'
    with running_world(
        tmp_path, authenticate=by_token(), policy=middleware.policy(configured(tmp_path, file))
    ) as world:
        world.client.session.headers.update(token("member", PROJECT))

        volume_id = world.register_volume()

        assert fault(world.client.manage(volume_id, SNAPSHOT))[0] == 403
        assert fault(world.client.get("messages", version="3.5"))[0] == 403


def test_policy_file_with_another_name_is_read(tmp_path: Path) -> None:
    made = middleware.policy(configured(tmp_path, f'"{policy.MANAGE}": "@"\n', named="rules.yaml"))

    assert made.allows(caller("nothing"), policy.MANAGE)


def test_changed_policy_file_applies_without_a_restart(tmp_path: Path) -> None:
    made, clock = watched(tmp_path, f'"{policy.MANAGE}": "@"\n')
    assert made.allows(caller("nothing"), policy.MANAGE)

    replace(tmp_path / "policy.yaml", f'"{policy.MANAGE}": "!"\n')
    clock.append(policy.LOOK_SECONDS)

    assert not made.allows(caller("admin"), policy.MANAGE)
    assert made.allows(caller("admin"), policy.UNMANAGE)


def test_policy_file_is_looked_for_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, clock = watched(tmp_path, f'"{policy.MANAGE}": "@"\n')
    looks: list[bool] = []
    load_rules = Enforcer.load_rules

    def note(enforcer: Enforcer) -> None:
        looks.append(enforcer.use_conf)
        load_rules(enforcer)

    monkeypatch.setattr(Enforcer, "load_rules", note)

    for second in (0.0, policy.LOOK_SECONDS, 2.5 * policy.LOOK_SECONDS):
        clock.append(second)
        for role in ("admin", "reader", "nothing", "reader"):
            assert made.allows(caller(role), policy.MANAGE)
            assert made.allows(caller(role), policy.GET_SNAPSHOT) is (role != "nothing")

    assert looks.count(True) == 3


def test_decisions_for_many_users_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MOST_DECISIONS", 3)
    made, _ = watched(tmp_path, f'"{policy.MANAGE}": "user_id:%(user_id)s and role:boss"\n')

    for number in range(10):
        assert made.allows(caller("boss", f"user-{number}"), policy.MANAGE)
        assert not made.allows(caller("reader", f"user-{number}"), policy.MANAGE)


def test_changing_policy_file_never_refuses_callers_that_both_versions_allow(tmp_path: Path) -> None:
    """Every check looks for a change, since the clock jumps."""
    made = Policy(configured(tmp_path, f'"{policy.MANAGE}": "@"\n'), clock=count(0.0, policy.LOOK_SECONDS).__next__)
    refusals: list[int] = []

    def check_repeatedly() -> None:
        refusals.extend(each for each in range(300) if not made.allows(caller("reader"), policy.GET_SNAPSHOT))

    threads = [threading.Thread(target=check_repeatedly) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for number in range(50):
            replace(tmp_path / "policy.yaml", f'"{policy.MANAGE}": "role:number-{number}"\n')
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert refusals == []


@pytest.mark.parametrize(
    "rules", ["{", '"a": "rule:missing"\n', '"a": "rule:b"\n"b": "rule:a"\n', "- a list\n", '"a": 5\n', "words"]
)
def test_malformed_policy_file_is_reported_at_start(tmp_path: Path, rules: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"policy\.yaml: ") as refusal:
        middleware.policy(configured(tmp_path, rules))

    assert "\n" not in str(refusal.value)


def test_missing_policy_file_is_reported_at_start(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"rules\.yaml does not exist"):
        middleware.policy(configured(tmp_path, None, named="rules.yaml"))


def test_start_without_a_policy_file_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = middleware.policy(configured(tmp_path, None))

    assert made.allows(caller("admin"), policy.MANAGE)
    assert caplog.text == ""


def watched(folder: Path, rules: str) -> tuple[Policy, list[float]]:
    """Return the policies of a file, and a list whose last number is the time."""
    clock = [0.0]
    return Policy(configured(folder, rules), clock=lambda: clock[-1]), clock


def caller(role: str, user_id: str = "ann") -> Caller:
    return Caller(Requester(project_id=PROJECT, user_id=user_id), (role,), bound=False)


def replace(file: Path, text: str) -> None:
    """Change a file in one step, with a time of change that differs."""
    now = file.stat().st_mtime
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    while fresh.stat().st_mtime <= now:
        fresh.touch()
    fresh.rename(file)
