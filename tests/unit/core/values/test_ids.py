"""Ids from outside, and ids that are derived from others."""

import uuid
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.values import ids
from tests.examples import SNAPSHOT_ID, VOLUME_ID


@pytest.mark.parametrize(
    "spelled", [VOLUME_ID, VOLUME_ID.replace("-", ""), f"{{{VOLUME_ID}}}", f"urn:uuid:{VOLUME_ID}"]
)
def test_uuid_is_read_in_each_of_its_spellings(spelled: str) -> None:
    assert ids.parse_uuid("id", spelled.upper() if "urn" not in spelled else spelled) == VOLUME_ID


@pytest.mark.parametrize("value", [None, "", "seven", 7, True, [VOLUME_ID], {}, uuid.UUID(VOLUME_ID)])
def test_value_that_is_not_a_uuid_is_refused(value: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="volume_id must be a UUID"):
        ids.parse_uuid("volume_id", value)


def test_derived_id_depends_on_namespace_and_name_only() -> None:
    derived = {ids.derive(namespace, name) for namespace in (VOLUME_ID, SNAPSHOT_ID) for name in ("1", "2")}

    assert len(derived) == 4
    assert ids.derive(VOLUME_ID, "1") == ids.derive(VOLUME_ID, "1")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"snapshot-{SNAPSHOT_ID}", {SNAPSHOT_ID}),
        (f"disk@SNAPSHOT-{SNAPSHOT_ID.upper()}", {SNAPSHOT_ID}),
        (f"{SNAPSHOT_ID}@daily", set()),
        (f"{SNAPSHOT_ID}/daily", set()),
        (f"0{SNAPSHOT_ID}", set()),
        ("daily", set()),
    ],
)
def test_ids_are_found_in_the_own_name_of_an_object(name: str, found: set[str]) -> None:
    assert ids.ids_in(name) == found


@pytest.mark.parametrize("name", ["5", "cast 12", "Zürich"])
def test_derived_id_is_the_uuid_of_version_5(name: str) -> None:
    for namespace in (str(uuid.uuid4()) for _ in range(20)):
        assert ids.derive(namespace, name) == str(uuid.uuid5(uuid.UUID(namespace), name))


def test_ids_of_many_names_are_those_of_each() -> None:
    names = [
        f"snapshot-{SNAPSHOT_ID}",
        f"{VOLUME_ID}@daily",
        f"disk@{VOLUME_ID.upper()}",
        "",
        VOLUME_ID[:18],
        VOLUME_ID[18:],
    ]

    assert ids.ids_in_any(names) == set().union(*map(ids.ids_in, names)) == {SNAPSHOT_ID, VOLUME_ID}
