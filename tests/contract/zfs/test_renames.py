"""Renames by ZFS: holds, clones, illegal names, and failures."""

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from tests.contract.labs.zfs import ZfsLab
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


@pytest.mark.parametrize("template", ["a/b", "a@b", "a+b", "", "x" * 255])
def test_error_for_an_illegal_name_names_the_template(lab: ZfsLab, template: str) -> None:
    found = lab.driver.find_snapshot(Reference.named(new_binding(lab).original_name))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        lab.driver.managed_name(found, template)


def test_failures_of_zfs_become_errors_of_snapmanage(lab: ZfsLab) -> None:
    one, other = new_binding(lab, "one").original_name, new_binding(lab, "other").original_name

    with pytest.raises(errors.SourceNotFound):
        lab.driver.rename(lab.name_of("absent"), lab.name_of("new"))
    with pytest.raises(errors.NameTaken):
        lab.driver.rename(one, other)
