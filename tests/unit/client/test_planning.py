"""The planner decides how each snapshot is managed, or why it is skipped."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.client.plan import templates
from snapmanage.client.plan.entries import Entry, Manage, RegisterVolume, Skip, entry_of
from snapmanage.client.plan.rows import Row
from snapmanage.client.selection.found import Found
from snapmanage.client.work.planning import Planner, Rules

HOST = "storage-1@ceph"


def found(name: str = "disk-1@daily", **fields: Any) -> Found:
    given: dict[str, Any] = {"size_gb": 3, "parent": "disk-1"}
    return Found(HOST, {"source-name": name}, **given | fields)


DEFAULT = Rules()


def entries(*selected: Found, rules: Rules = DEFAULT, known: dict[str, str] | None = None) -> list[Entry]:
    planner = Planner(rules, lambda host, name: (known or {}).get(name))
    return list(planner.entries(selected))


def test_volume_is_registered_once_before_its_snapshots() -> None:
    made = entries(found("disk-1@a"), found("disk-1@b"), found("disk-2@a", parent="disk-2"))

    assert [type(each) for each in made] == [RegisterVolume, Manage, Manage, RegisterVolume, Manage]
    assert [each.volume for each in made if isinstance(each, Manage)] == ["v1", "v1", "v2"]


def test_registered_volume_is_used_by_its_id() -> None:
    [entry] = entries(found(), known={"disk-1": "id-1"})

    assert isinstance(entry, Manage)
    assert entry.volume == "id-1"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"parent": None}, "orphan"),
        ({"reason_not_safe": "already managed"}, "already_managed"),
        ({"reason_not_safe": None, "record_id": "some-id"}, "already_managed"),
        ({"reason_not_safe": "in use: qemu"}, "in_use"),
        ({"reason_not_safe": "unusable"}, "unusable"),
        ({"reason_not_safe": "the moon is full"}, "not_safe"),
        ({"rename": "refuse", "origin_why": "a reason"}, "origin_refuses"),
        ({"reason_not_safe": "origin refuses: a reason"}, "origin_refuses"),
    ],
)
def test_snapshot_that_must_not_be_managed_is_skipped(fields: dict[str, Any], why: str) -> None:
    [entry] = entries(found(**fields))

    assert isinstance(entry, Skip)
    assert entry.why == why
    assert entry.text


def test_refusal_of_an_origin_is_overridden_by_force() -> None:
    refused = found(rename="refuse", reason_not_safe="origin refuses: a reason", origin="syncoid")

    _, entry = entries(refused, rules=Rules(forces=True))

    assert isinstance(entry, Manage)
    assert entry.metadata["snapmanage:force"] == "true"
    assert entry.warnings


def test_new_name_is_exact_if_the_service_takes_ids() -> None:
    rules = Rules(takes_chosen_ids=True, backend_name="snap-%s", make_id=lambda: "6f3b")

    _, entry = entries(found(), rules=rules)

    assert isinstance(entry, Manage)
    assert (entry.snapshot_id, entry.renamed_to) == ("6f3b", "disk-1@snap-6f3b")


def by_key(*rows: Row) -> dict[tuple[str, str | None], Row]:
    return {row.key: row for row in rows}


def test_rows_choose_snapshots_and_their_names() -> None:
    rows = by_key(Row("disk-1@a", name="first", metadata={"k": "v"}), Row("disk-1@gone"))

    _, managed, skipped = entries(found("disk-1@a"), found("disk-1@b"), rules=Rules(rows=rows))

    assert isinstance(managed, Manage)
    assert (managed.name, managed.metadata["k"]) == ("first", "v")
    assert isinstance(skipped, Skip)
    assert (skipped.source, skipped.why) == ("disk-1@gone", "source_not_found")


def test_description_of_the_program_counts_unless_a_row_has_one() -> None:
    noted = [found(name, description="zypp(zypper)") for name in ("disk-1@a", "disk-1@b")]
    rows = by_key(Row("disk-1@a", description="mine"), Row("disk-1@b"))

    made = entries(*noted, rules=Rules(name="{description}", rows=rows))[1:]

    assert [(each.description, each.name) for each in made if isinstance(each, Manage)] == [
        ("mine", "zypp(zypper)"),
        ("zypp(zypper)", "zypp(zypper)"),
    ]


def test_row_of_another_host_chooses_nothing() -> None:
    rows = by_key(Row("disk-1@a", host="storage-2@ceph"))

    [entry] = entries(found("disk-1@a"), rules=Rules(rows=rows))

    assert isinstance(entry, Skip)


def test_rows_of_two_hosts_may_have_the_same_source() -> None:
    hosts = (HOST, "storage-2@ceph")
    rows = by_key(*(Row("disk-1@a", host, name=f"of {host}") for host in hosts))
    scanned = [replace(found("disk-1@a"), host=host) for host in hosts]

    made = entries(*scanned, rules=Rules(rows=rows))

    assert [each.name for each in made if isinstance(each, Manage)] == [f"of {host}" for host in hosts]
    assert not [each for each in made if isinstance(each, Skip)]


def test_entries_survive_the_file() -> None:
    origin = found(origin="sanoid", origin_class="daily", rename="warn", origin_why="leaves the retention")
    made = entries(origin, found("x", parent=None), rules=Rules(takes_chosen_ids=True))

    assert [entry_of(each.as_json()) for each in made] == made


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"do": "manage"},
        {"do": "manage", "key": "s1", "volume": "v1", "host": HOST, "ref": "text"},
        {"do": "manage", "key": 7, "volume": "v1", "host": HOST, "ref": {"source-name": "a"}},
        {"do": "register-volume", "key": "v1", "host": HOST, "ref": {}, "name": "a"},
        {"do": "skip", "ref": {"source-name": "a"}},
    ],
)
def test_line_of_another_form_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match="the field"):
        entry_of(line)


def test_template_has_the_facts_of_the_snapshot() -> None:
    assert templates.fill("{volume}-{name}-{origin}{class}", found(origin="zrepl")) == "disk-1-daily-zrepl"
    assert templates.fill("{name}", found("disk-1@a\x1bb")) == "a\\x1bb"
    assert len(templates.fill("{name}", found("x" * 300))) == 255


def test_template_reaches_no_other_fact() -> None:
    with pytest.raises(errors.InvalidRequest, match="unknown field"):
        templates.check("--name-template", "{name.__class__}")


@pytest.mark.parametrize(
    ("why", "warning"),
    [
        ("sanoid no longer finds it", "sanoid no longer finds it"),
        ("it is no longer removed", "sanoid: it is no longer removed"),
        (None, "sanoid: the new name changes how it works"),
    ],
)
def test_warning_names_the_program_once(why: str | None, warning: str) -> None:
    [_, entry] = entries(found(rename="warn", origin="sanoid", origin_why=why))

    assert isinstance(entry, Manage)
    assert entry.warnings == (warning,)
