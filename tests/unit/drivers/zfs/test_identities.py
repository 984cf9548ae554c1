"""Identities in records of earlier releases are replaced by present ones, where the object is certain."""

import pytest

from snapmanage.core.backend import Binding
from snapmanage.drivers.zfs import identities
from snapmanage.drivers.zfs.report import Dataset

OLD = "77-12"


def snapshot(name: str, number: int, old: str = OLD) -> Dataset:
    return Dataset(name, "snapshot", f"{old}-{number}", old)


def binding(original: str = "tank/v@daily", managed: str = "tank/v@snapshot-1", identity: str = OLD) -> Binding:
    return Binding(identity, original, managed)


@pytest.mark.parametrize(
    ("snapshots", "present"),
    [
        ([snapshot("tank/v@snapshot-1", 30)], {OLD: "77-12-30"}),
        ([snapshot("tank/v@daily", 30)], {OLD: "77-12-30"}),
        ([snapshot("tank/v@daily", 30), snapshot("tank/twin@daily", 31)], {OLD: "77-12-30"}),
        ([snapshot("tank/moved@snapshot-1", 30), snapshot("tank/twin@daily", 31)], {OLD: "77-12-30"}),
        ([snapshot("tank/moved@snapshot-1", 30), snapshot("tank/twin@snapshot-1", 31)], {}),
        ([snapshot("tank/twin@daily", 31)], {}),
        ([snapshot("tank/v@snapshot-1", 30, old="78-12")], {}),
        ([], {}),
    ],
)
def test_identity_is_renewed_only_where_name_and_old_form_agree(
    snapshots: list[Dataset], present: dict[str, str]
) -> None:
    assert identities.renewed([binding()], snapshots) == present


def test_two_records_with_one_old_identity_and_two_objects_are_not_renewed() -> None:
    snapshots = [snapshot("tank/a@daily", 30), snapshot("tank/b@daily", 31)]
    bindings = [binding(f"tank/{name}@daily", f"tank/{name}@snapshot-{name}") for name in "ab"]

    assert identities.renewed(bindings, snapshots) == {}


def test_identity_of_a_dataset_is_not_renewed() -> None:
    assert identities.renewed([binding("tank/v", "tank/v", "5-9")], [snapshot("tank/v@daily", 30)]) == {}


@pytest.mark.parametrize(
    ("identity", "old"), [("77-12", True), ("77-12-30", False), ("unreadable:tank/v@a", False), ("", False)]
)
def test_old_identity_is_recognized_by_its_form(identity: str, old: bool) -> None:
    assert identities.is_old(identity) is old
