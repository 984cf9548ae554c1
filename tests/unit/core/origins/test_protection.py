"""Names that other tools need: refusals, and metadata about the origin."""

from datetime import UTC, datetime
from functools import partial

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Notes
from snapmanage.core.origins import protection
from snapmanage.core.origins.patterns import Origin, Rename
from snapmanage.core.origins.protection import FORCE, BackendOrigins
from snapmanage.core.origins.table import KNOWN
from tests import examples
from tests.examples import NOW

SYNCOID = "disk@syncoid_nas_2020-01-27:12:30:01"
ORIGIN = Origin("sanoid", "daily", NOW, Rename.WARN, "it is lost")
ID = "5c07f1fa-6fcb-4b38-a4e1-d8ff1ad4ca5d"


def test_refusal_names_the_object_the_tool_and_the_reason() -> None:
    with pytest.raises(errors.OriginRefuses) as refusal:
        protection.refuse_by_name(KNOWN, "zfs", SYNCOID, "disk", ID)

    assert str(refusal.value) == (
        f"{SYNCOID!r} is a snapshot of syncoid, so it isn't renamed: syncoid needs this name for its next incremental "
        "send"
    )


@pytest.mark.parametrize("name", ["autosnap_2026-07-30_10:00:01_daily", "daily", "zrepl_20220920_092503_000"])
def test_name_that_does_not_decide_is_accepted(name: str) -> None:
    protection.refuse_by_name(KNOWN, "zfs", f"disk@{name}", "disk", ID)


def test_object_with_the_id_of_its_own_record_is_accepted() -> None:
    name, volume = f"volume-{examples.VOLUME_ID}@snapshot-{ID}", f"volume-{examples.VOLUME_ID}"

    protection.refuse_by_name(KNOWN, "rbd", name, volume, ID)
    with pytest.raises(errors.OriginRefuses, match="no Cinder knows it"):
        protection.refuse_by_name(KNOWN, "rbd", name, volume, examples.VOLUME_ID)


def test_metadata_get_the_origin() -> None:
    assert protection.with_origin({"a": "b"}, "disk@x", ORIGIN) == {
        "a": "b",
        "origin": "sanoid",
        "origin-class": "daily",
        "original-name": "disk@x",
    }


def test_notes_of_the_tool_are_shown_and_kept() -> None:
    notes = Notes(NOW, "before the\nupgrade" + "x" * 300)
    found = examples.found(".snapshots/17/snapshot", notes=notes)
    noted = {"origin-created-at": NOW.isoformat(), "origin-description": ("before the\\nupgrade" + "x" * 300)[:255]}

    origin = BackendOrigins(KNOWN, "btrfs").of(found)

    assert origin is not None
    assert origin.created_at == NOW
    assert protection.with_extra_info({}, origin).items() >= noted.items()
    assert protection.with_origin({}, found.name, origin) == noted | {"origin": "snapper", "original-name": found.name}


def test_notes_about_a_snapshot_of_no_known_tool_do_not_count() -> None:
    assert BackendOrigins(KNOWN, "btrfs").of(examples.found("daily", notes=Notes(NOW, "text"))) is None


def test_time_in_the_name_counts_before_the_notes() -> None:
    found = examples.found("autosnap_2026-07-30_10:00:01_daily", notes=Notes(NOW))

    origin = BackendOrigins(KNOWN, "zfs").of(found)

    assert origin is not None
    assert origin.created_at == datetime(2026, 7, 30, 10, 0, 1, tzinfo=UTC)


def test_given_metadata_are_kept() -> None:
    given = {"origin": "mine", "original-name": "y"}

    assert protection.with_origin(given, "disk@x", ORIGIN) == given | {"origin-class": "daily"}


def test_metadata_without_an_origin_stay_as_they_are() -> None:
    given = {"a": "b"}

    assert protection.with_origin(given, "disk@x", None) is given


def test_metadata_never_exceed_the_limits_of_the_api() -> None:
    full = {str(number): "x" for number in range(126)}

    assert protection.with_origin(full, "disk@x", ORIGIN) == full
    assert "original-name" not in protection.with_origin({}, "x" * 256, ORIGIN)


def test_only_true_forces() -> None:
    values = ("true", "True", "1", "false", "")

    assert [protection.forced({FORCE: value}) for value in values] == [True, True, False, False, False]
    assert not protection.forced({})


@pytest.mark.parametrize("key", [FORCE, "snapmanage:later"])
def test_only_an_administrator_may_set_keys_of_snapmanage(key: str) -> None:
    protection.require_right_to_set({}, {key: "true"}, is_admin=True)
    protection.require_right_to_set({key: "true"}, {key: "true", "a": "b"}, is_admin=False)
    protection.require_right_to_set({key: "true"}, {}, is_admin=False)
    for before in ({}, {key: "false"}):
        with pytest.raises(errors.NotPermitted, match=f"Only an administrator may set the metadata {key}: keys that"):
            protection.require_right_to_set(before, {"a": "b", key: "true"}, is_admin=False)


def test_keys_of_snapmanage_are_dropped_for_other_senders() -> None:
    assert protection.without_own_keys({FORCE: "true", "snapmanage:later": "x", "a": "b"}) == {"a": "b"}


def test_list_of_a_backend_names_the_reason_only_where_the_object_would_be_renamed() -> None:
    found = examples.found(name=SYNCOID, parent="disk")
    reason = "origin refuses: syncoid needs this name for its next incremental send"

    for protects, renames, expected in ((True, True, reason), (False, True, None), (True, False, None)):
        origins = BackendOrigins(KNOWN, "zfs", protects, partial(_answer, renames))
        assert origins.reason_not_safe(found, origins.of(found)) == expected


def _answer(renames: bool, found: BackendSnapshot) -> bool:
    return renames


def test_values_of_a_driver_under_the_keys_of_origins_are_left_out() -> None:
    assert protection.with_extra_info({"origin": "secret", "userrefs": "0"}, None) == {"userrefs": "0"}
    assert protection.with_extra_info({}, ORIGIN) == {
        "origin": "sanoid",
        "origin-class": "daily",
        "origin-rename": "warn",
        "origin-why": "it is lost",
        "origin-created-at": NOW.isoformat(),
    }
