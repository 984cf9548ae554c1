"""A ZFS that doesn't answer, or isn't configured."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.drivers.system import commands
from snapmanage.drivers.zfs import privileged
from snapmanage.drivers.zfs.driver import ZfsDriver
from tests.contract.labs.zfs import ZfsLab
from tests.contract.zfs.helpers import new_binding, replace_zfs

SHORT_DEADLINE_SECONDS = 1.5


def test_hanging_zfs_is_abandoned_at_the_deadline_and_used_again_afterwards(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    hurried = ZfsDriver(lab.dataset, command_timeout_seconds=SHORT_DEADLINE_SECONDS)

    lab.zfs.freeze()
    try:
        for act in (hurried.list_snapshots, lambda: hurried.manage_snapshot(binding)):
            with pytest.raises(errors.BackendUnavailable, match="deadline"):
                act()
    finally:
        lab.zfs.thaw()

    assert lab.driver.manage_snapshot(binding).name == binding.managed_name


def test_missing_dataset_is_an_error_that_is_retried(lab: ZfsLab) -> None:
    with pytest.raises(errors.BackendUnavailable, match="imported"):
        ZfsDriver(f"{lab.pool}/absent").list_snapshots()


def test_backend_is_unavailable_where_zfs_cannot_run(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", "/nowhere")

    with pytest.raises(errors.BackendUnavailable, match="installed"):
        lab.driver.list_snapshots()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("cannot open 'tank/v@daily': I/O error", errors.BackendError),
        ("cannot open 'tank/v@daily': permission denied", errors.BackendPermission),
        ("cannot open 'tank/v@other': dataset does not exist", errors.BackendUnavailable),
        ("pool I/O is currently suspended", errors.BackendUnavailable),
    ],
)
def test_snapshot_is_gone_only_when_zfs_reports_that_it_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, kind: type[errors.SnapmanageError]
) -> None:
    values = {"creation": "1", "guid": "5", "createtxg": "9", "objsetid": "7", "referenced": "0", "volsize": "-"}
    values |= {"type": "filesystem", "userrefs": "-", "defer_destroy": "-"}
    replace_zfs(
        tmp_path, monkeypatch, "\n".join(f"tank/v\t{key}\t{value}" for key, value in values.items()), message, 1
    )
    driver = ZfsDriver("tank/v", zfs_delegated=True)

    with pytest.raises(kind) as caught:
        driver.find_snapshot(Reference.named("tank/v@daily"))

    assert type(caught.value) is kind


@pytest.mark.parametrize("dataset", [None, "", "-r", "tank@a"])
def test_error_for_a_dataset_that_is_not_configured_names_the_option(dataset: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="zfs_dataset"):
        ZfsDriver(dataset).check()


def test_delegated_permissions_need_no_root(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = new_binding(lab)
    delegated = ZfsDriver(lab.dataset, zfs_delegated=True, command_timeout_seconds=30)

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"an entry point was called with {arguments}")

    for name in ("zfs_get", "zfs_rename"):
        monkeypatch.setattr(privileged, name, refuse)

    assert delegated.manage_snapshot(binding).name == binding.managed_name
