"""What is ZFS's own: identities, what a rename leaves alone, and a ZFS that doesn't answer."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import commands, privileged
from snapmanage.drivers.zfs import ZfsDriver
from tests.contract.labs.zfs import ZfsLab, zfs_lab
from tests.services.zfs_fuse import ZfsFuse

SHORT_DEADLINE_SECONDS = 1.5


@pytest.fixture
def lab(zfs_fuse: ZfsFuse) -> Iterator[ZfsLab]:
    with zfs_lab(zfs_fuse) as lab:
        yield lab


def bound(lab: ZfsLab, name: str) -> Binding:
    found = lab.driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def taken(lab: ZfsLab, word: str = "daily") -> Binding:
    """A new snapshot that is to be managed."""
    lab.add_snapshot(lab.name_of(word))
    return bound(lab, lab.name_of(word))


def replicate(lab: ZfsLab, name: str, target: str) -> None:
    """`zfs send NAME | zfs receive TARGET`."""
    zfs = f"{lab.zfs.path}/zfs"
    with subprocess.Popen([zfs, "send", name], stdout=subprocess.PIPE) as sending:
        subprocess.run([zfs, "receive", target], stdin=sending.stdout, check=True)


# What is found.


def test_snapshots_of_all_datasets_beneath_are_listed_and_no_others(lab: ZfsLab) -> None:
    for dataset in (f"{lab.volume}/inner", f"{lab.dataset}-other"):
        lab.zfs.run("zfs", "create", dataset)
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.pool}@all")

    listed = {found.name: found.parent for found in lab.driver.list_snapshots()}

    datasets = (lab.dataset, lab.volume, f"{lab.volume}/inner")
    assert listed == {f"{dataset}@all": dataset for dataset in datasets}


def test_what_is_not_within_the_dataset_is_not_found(lab: ZfsLab) -> None:
    lab.zfs.run("zfs", "create", f"{lab.dataset}-other")
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.pool}@all")

    for name in (f"{lab.pool}@all", f"{lab.dataset}-other@all"):
        with pytest.raises(errors.SourceNotFound, match="within"):
            lab.driver.find_snapshot(Reference.named(name))


def test_replica_has_the_guid_of_the_original_and_an_identity_of_its_own(lab: ZfsLab) -> None:
    name = taken(lab).original_name

    replicate(lab, name, f"{lab.dataset}/replica")

    identities = [found.identity for found in lab.driver.list_snapshots()]
    assert len(set(identities)) == 2
    assert len({identity.partition("-")[0] for identity in identities}) == 1


def test_snapshot_that_a_promoted_clone_took_over_has_another_parent_and_the_same_identity(lab: ZfsLab) -> None:
    binding = taken(lab)
    lab.zfs.run("zfs", "clone", binding.original_name, f"{lab.dataset}/clone")

    lab.zfs.run("zfs", "promote", f"{lab.dataset}/clone")

    [found] = lab.driver.list_snapshots()
    assert (found.identity, found.parent) == (binding.identity, f"{lab.dataset}/clone")


# Renaming.


def test_holds_and_clones_stay_through_managing(lab: ZfsLab) -> None:
    binding = taken(lab)
    lab.zfs.run("zfs", "hold", "mine", binding.original_name)
    lab.zfs.run("zfs", "clone", binding.original_name, f"{lab.dataset}/clone")

    managed = lab.driver.manage_snapshot(binding)

    assert managed.extra == {"userrefs": "1"}
    origin = lab.zfs.run("zfs", "get", "-H", "-o", "value", "origin", f"{lab.dataset}/clone").strip()
    assert origin == binding.managed_name
    lab.zfs.run("zfs", "release", "mine", binding.managed_name)


@pytest.mark.parametrize("template", ["a/b", "a@b", "a+b", "", "x" * 255])
def test_template_that_makes_no_name_is_the_operators_to_mend(lab: ZfsLab, template: str) -> None:
    found = lab.driver.find_snapshot(Reference.named(taken(lab).original_name))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        lab.driver.managed_name(found, template)


def test_exit_codes_of_zfs_become_errors_of_ours(lab: ZfsLab) -> None:
    one, other = taken(lab, "one").original_name, taken(lab, "other").original_name

    with pytest.raises(errors.SourceNotFound):
        lab.driver.rename(lab.name_of("absent"), lab.name_of("new"))
    with pytest.raises(errors.NameTaken):
        lab.driver.rename(one, other)


# A ZFS that doesn't answer.


def test_zfs_that_hangs_is_given_up_at_the_deadline_and_served_again_afterwards(lab: ZfsLab) -> None:
    binding = taken(lab)
    impatient = ZfsDriver(lab.dataset, command_timeout_seconds=SHORT_DEADLINE_SECONDS)

    lab.zfs.freeze()
    try:
        for act in (impatient.list_snapshots, lambda: impatient.manage_snapshot(binding)):
            with pytest.raises(errors.BackendUnavailable, match="deadline"):
                act()
    finally:
        lab.zfs.thaw()

    assert lab.driver.manage_snapshot(binding).name == binding.managed_name


def test_dataset_that_is_not_there_may_come_back(lab: ZfsLab) -> None:
    with pytest.raises(errors.BackendUnavailable, match="imported"):
        ZfsDriver(f"{lab.pool}/absent").list_snapshots()


def test_zfs_that_does_not_run_is_away(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", "/nowhere")

    with pytest.raises(errors.BackendUnavailable, match="installed"):
        lab.driver.list_snapshots()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("cannot open 'tank/v@daily': I/O error", errors.BackendError),
        ("cannot open 'tank/v@daily': permission denied", errors.BackendPermission),
        ("cannot open 'tank/v@other': dataset does not exist", errors.BackendUnavailable),
        ("pool I/O is currently suspended", errors.BackendUnavailable),
    ],
)
def test_snapshot_is_gone_only_when_zfs_says_so_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[errors.SnapmanageError]
) -> None:
    values = {"creation": "1", "guid": "5", "createtxg": "9", "referenced": "0", "volsize": "-"}
    values |= {"type": "filesystem", "userrefs": "-", "defer_destroy": "-"}
    report = "".join(f"tank/v\\t{key}\\t{value}\\n" for key, value in values.items())
    command = tmp_path / "zfs"
    command.write_text(f"""#!/bin/sh\nprintf '{report}'\necho "{said}" >&2\nexit 1\n""")
    command.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{tmp_path}:/bin")
    driver = ZfsDriver("tank/v", zfs_delegated=True)

    with pytest.raises(kind) as caught:
        driver.find_snapshot(Reference.named("tank/v@daily"))

    assert type(caught.value) is kind


@pytest.mark.parametrize("dataset", [None, "", "-r", "tank@a"])
def test_dataset_that_is_not_configured_is_told_with_the_remedy(dataset: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="zfs_dataset"):
        ZfsDriver(dataset).check()


def test_delegated_rights_need_no_root(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = taken(lab)
    delegated = ZfsDriver(lab.dataset, zfs_delegated=True, command_timeout_seconds=30)

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"root was asked for {arguments}")

    for name in ("zfs_get", "zfs_rename"):
        monkeypatch.setattr(privileged, name, refuse)

    assert delegated.manage_snapshot(binding).name == binding.managed_name
