"""Renames by ZFS: holds, clones, illegal names, and failures."""

import pytest

from snapmanage import errors
from snapmanage.core.origins.protection import BackendOrigins
from snapmanage.core.origins.table import KNOWN
from snapmanage.core.reference import Reference
from snapmanage.drivers.zfs.renamer import DatasetRenamer
from snapmanage.drivers.zfs.scan import Scanner
from tests.contract.labs.zfs import DEADLINE_SECONDS, ZfsLab
from tests.contract.zfs.helpers import new_binding


def test_holds_and_clones_survive_a_manage_request(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.zfs.run("zfs", "hold", "mine", binding.original_name)
    lab.zfs.run("zfs", "clone", binding.original_name, f"{lab.dataset}/clone")

    managed = lab.driver.manage_snapshot(binding)

    assert managed.extra == {"userrefs": "1"}
    origin = lab.zfs.run("zfs", "get", "-H", "-o", "value", "origin", f"{lab.dataset}/clone").strip()
    assert origin == binding.managed_name
    lab.zfs.run("zfs", "release", "mine", binding.managed_name)


def test_snapshot_whose_dataset_was_moved_out_of_the_configured_one_is_left_alone(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.driver.manage_snapshot(binding)
    outside = f"{lab.pool}/outside"
    lab.zfs.run("zfs", "rename", lab.volume, outside)

    lab.driver.unmanage_snapshot(binding)

    shown = lab.zfs.run("zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", outside).splitlines()
    assert shown == [binding.managed_name.replace(lab.volume, outside)]


@pytest.mark.parametrize("template", ["a/b", "a@b", "a+b", "", "x" * 255])
def test_error_for_an_illegal_name_names_the_template(lab: ZfsLab, template: str) -> None:
    found = lab.driver.find_snapshot(Reference.named(new_binding(lab).original_name))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        lab.driver.managed_name(found, template)


def test_failures_of_zfs_become_errors_of_snapmanage(lab: ZfsLab) -> None:
    one, other = new_binding(lab, "one").original_name, new_binding(lab, "other").original_name
    renamer = DatasetRenamer(Scanner(lab.dataset, False, DEADLINE_SECONDS), 0, False, DEADLINE_SECONDS)

    with pytest.raises(errors.SourceNotFound):
        renamer.rename(lab.name_of("absent"), lab.name_of("new"))
    with pytest.raises(errors.NameTaken):
        renamer.rename(one, other)


def test_hold_on_a_snapshot_of_zrepl_refuses_its_new_name(lab: ZfsLab) -> None:
    name = lab.name_of("zrepl_20220920_092503_000")
    lab.add_snapshot(name)
    origins = BackendOrigins(KNOWN, "zfs", protects=True)

    free = next(each for each in lab.driver.list_snapshots() if each.name == name)
    lab.zfs.run("zfs", "hold", "zrepl_last_received_J_backup", name)
    held = lab.driver.find_snapshot(Reference.named(name))

    assert origins.reason_not_safe(free, origins.of(free)) is None
    assert (origins.reason_not_safe(held, origins.of(held)) or "").startswith("origin refuses: it has holds")
    lab.zfs.run("zfs", "release", "zrepl_last_received_J_backup", name)
