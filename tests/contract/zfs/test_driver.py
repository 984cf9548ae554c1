"""Behaviour of the driver that is special to ZFS: identities, damage, renames, and a ZFS that doesn't answer."""

import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendObject, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.protocol import Section
from snapmanage.drivers.system import commands
from snapmanage.drivers.zfs import privileged, scan
from snapmanage.drivers.zfs.driver import ZfsDriver
from tests.contract.labs.zfs import ZfsLab, zfs_lab
from tests.services.zfs_fuse import ZfsFuse
from tests.waiting import until

SHORT_DEADLINE_SECONDS = 1.5


@pytest.fixture
def lab(zfs_fuse: ZfsFuse) -> Iterator[ZfsLab]:
    with zfs_lab(zfs_fuse) as lab:
        yield lab


def bound(lab: ZfsLab, name: str) -> Binding:
    found = lab.driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def new_binding(lab: ZfsLab, word: str = "daily") -> Binding:
    """Make a snapshot and return the binding to manage it."""
    lab.add_snapshot(lab.name_of(word))
    return bound(lab, lab.name_of(word))


def replace_zfs(folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, error: str, code: int) -> None:
    """Replace `zfs` by a script that always prints this."""
    (folder / "output").write_text(output)
    command = folder / "zfs"
    command.write_text(f"""#!/bin/sh\ncat {folder}/output\necho "{error}" >&2\nexit {code}\n""")
    command.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{folder}:/bin")


# Listings.


def test_snapshots_of_all_datasets_beneath_and_no_others_are_listed(lab: ZfsLab) -> None:
    for dataset in (f"{lab.volume}/inner", f"{lab.dataset}-other"):
        lab.zfs.run("zfs", "create", dataset)
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.pool}@all")

    listed = {found.name: found.parent for found in lab.driver.list_snapshots()}

    datasets = (lab.dataset, lab.volume, f"{lab.volume}/inner")
    assert listed == {f"{dataset}@all": dataset for dataset in datasets}


def test_snapshot_outside_of_the_dataset_is_not_found(lab: ZfsLab) -> None:
    lab.zfs.run("zfs", "create", f"{lab.dataset}-other")
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.pool}@all")

    for name in (f"{lab.pool}@all", f"{lab.dataset}-other@all"):
        with pytest.raises(errors.SourceNotFound, match="within"):
            lab.driver.find_snapshot(Reference.named(name))


def test_replica_has_the_guid_of_the_original_and_an_identity_of_its_own(lab: ZfsLab) -> None:
    new_binding(lab)

    lab.send([], "daily", f"{lab.dataset}/replica")

    identities = [found.identity for found in lab.driver.list_snapshots()]
    assert len(set(identities)) == 2
    assert len({identity.partition("-")[0] for identity in identities}) == 1


def test_two_replicas_that_were_received_in_one_transaction_have_two_identities(lab: ZfsLab) -> None:
    new_binding(lab)

    twins = lab.add_twins("daily")

    identities = {lab.driver.find_snapshot(Reference.named(name)).identity for name in twins}
    assert len(identities) == 2
    listed = lab.driver.list_snapshots()
    assert len({each.identity for each in listed}) == len(listed)


def test_snapshot_of_a_promoted_clone_has_a_new_parent_and_its_old_identity(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.zfs.run("zfs", "clone", binding.original_name, f"{lab.dataset}/clone")

    lab.zfs.run("zfs", "promote", f"{lab.dataset}/clone")

    [found] = lab.driver.list_snapshots()
    assert (found.identity, found.parent) == (binding.identity, f"{lab.dataset}/clone")


def test_snapshot_keeps_its_identity_through_rename_of_its_dataset_and_reimport_of_its_pool(lab: ZfsLab) -> None:
    binding = new_binding(lab)

    lab.zfs.run("zfs", "rename", lab.volume, f"{lab.dataset}/renamed")
    lab.go_away()
    lab.come_back()

    [found] = lab.driver.list_snapshots()
    assert (found.identity, found.parent) == (binding.identity, f"{lab.dataset}/renamed")


def test_snapshot_whose_managed_name_would_be_too_long_is_unusable(lab: ZfsLab) -> None:
    own, managed = 1, len(f"snapshot-{uuid.uuid4()}")
    fits = f"{lab.dataset}/{'x' * (255 - len(lab.dataset) - 2 - managed)}"
    names = [f"{dataset}@y" for dataset in (fits, f"{fits}x")]
    for name in names:
        lab.zfs.run("zfs", "create", name[: -1 - own])
        lab.add_snapshot(name)

    listed = {found.name: found.unsafe for found in lab.driver.list_snapshots()}

    assert listed == {names[0]: None, names[1]: Unsafe.UNUSABLE}
    lab.driver.manage_snapshot(bound(lab, names[0]))
    with pytest.raises(errors.Unusable, match="longer than the 255 characters"):
        refuse_unsafe(lab.driver.find_snapshot(Reference.named(names[1])))


def test_length_of_a_name_does_not_matter_without_renames(lab: ZfsLab) -> None:
    dataset = f"{lab.dataset}/{'x' * (252 - len(lab.dataset))}"
    lab.zfs.run("zfs", "create", dataset)
    lab.add_snapshot(f"{dataset}@y")

    [found] = ZfsDriver(lab.dataset, section=Section("tank")).list_snapshots()

    assert found.unsafe is None


def test_dataset_that_is_being_received_is_not_a_snapshot_and_hides_none(lab: ZfsLab) -> None:
    new_binding(lab)
    zfs = f"{lab.zfs.path}/zfs"
    stream = subprocess.run([zfs, "send", lab.name_of("daily")], capture_output=True, check=True).stdout
    target = f"{lab.dataset}/half"
    with subprocess.Popen([zfs, "receive", target], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as receiving:
        assert receiving.stdin is not None
        receiving.stdin.write(stream[: len(stream) // 2])
        receiving.stdin.flush()
        until(lambda: target in lab.zfs.run("zfs", "list", "-H", "-o", "name"), "the receive to begin")
        listed = [found.name for found in lab.driver.list_snapshots()]
        receiving.stdin.close()

    assert listed == [lab.name_of("daily")]


def test_odd_shapes_have_unique_identities_and_parents_that_can_be_registered(lab: ZfsLab) -> None:
    lab.add_oddities()

    listed = lab.driver.list_snapshots()

    assert {found.name for found in listed} == lab.names()
    assert len({found.identity for found in listed}) == len(listed)
    for found in listed:
        assert lab.driver.find_volume(Reference.named(found.parent or "")).identity == found.parent_identity
        if found.unsafe is None:
            assert lab.driver.manage_snapshot(bound(lab, found.name)).identity == found.identity


# Damage.


def test_damaged_dataset_has_an_entry_and_the_others_are_listed(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.add_snapshot(f"{lab.dataset}@of-all")
    lab.damage(lab.volume)

    listed = {found.name: found.unsafe for found in lab.driver.list_snapshots()}
    rest = lab.driver.find_snapshot(Reference.named(f"{lab.dataset}@*"))

    assert listed == {f"{lab.dataset}@of-all": None, rest.name: Unsafe.UNUSABLE}
    with pytest.raises(errors.Unusable, match="I/O error"):
        refuse_unsafe(rest)
    for act in (lambda: lab.driver.manage_snapshot(binding), lambda: bound(lab, binding.original_name)):
        with pytest.raises(errors.BackendError, match="zpool status -v"):
            act()


def test_mounted_datasets_are_listed_despite_damage_beside_them(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = [lab.volume, *(lab.add_volume(f"volume-{number}") for number in range(2, 8))]
    lab.zfs.run("zfs", "snapshot", "-r", f"{lab.dataset}@of-all")
    lab.damage(lab.volume)
    # zfs-fuse runs in a mount namespace of its own.
    monkeypatch.setattr(scan, "visible_datasets", lambda *_: datasets)

    listed = {found.name for found in lab.driver.list_snapshots()}

    undamaged = {f"{dataset}@of-all" for dataset in (lab.dataset, *datasets[1:])}
    assert listed == undamaged | {f"{lab.dataset}@*"}


def test_listing_without_damage_has_no_entry_for_it(lab: ZfsLab) -> None:
    with pytest.raises(errors.InvalidReference):
        lab.driver.find_snapshot(Reference.named(f"{lab.dataset}@*"))


def test_object_without_usable_properties_is_unusable_and_the_others_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"type": "snapshot", "creation": "1", "guid": "5", "createtxg": "9", "objsetid": "7"}
    values |= {"referenced": "0", "volsize": "-", "userrefs": "-", "defer_destroy": "off"}
    odd = {"tank/v": {"type": "filesystem"}, "tank/v@odd": {"guid": "-", "creation": "-"}, "tank/v@well": {}}
    lines = [f"{name}\t{key}\t{value}" for name, more in odd.items() for key, value in (values | more).items()]
    replace_zfs(tmp_path, monkeypatch, "\n".join(lines), "", 0)
    driver = ZfsDriver("tank/v", zfs_delegated=True)

    listed = {found.name: (found.unsafe, found.identity) for found in driver.list_snapshots()}

    assert listed == {
        "tank/v@odd": (Unsafe.UNUSABLE, "unreadable:tank/v@odd"),
        "tank/v@well": (None, "5-9-7"),
    }
    assert set(driver.locate((), {"tank/v@odd"})) == {BackendObject("tank/v@odd", "")}
    with pytest.raises(errors.BackendError):
        driver.look("tank/v@odd")


# Records of earlier releases.


def old_form(binding: Binding) -> Binding:
    return replace(binding, identity=binding.identity.rpartition("-")[0])


def test_record_of_an_earlier_release_is_managed_and_unmanaged(lab: ZfsLab) -> None:
    binding = new_binding(lab)

    first = lab.driver.manage_snapshot(old_form(binding))
    again = lab.driver.manage_snapshot(old_form(binding))
    lab.driver.unmanage_snapshot(old_form(binding))
    lab.driver.unmanage_snapshot(old_form(binding))

    assert first == again
    assert (first.name, first.identity) == (binding.managed_name, binding.identity)
    assert lab.names() == {binding.original_name}


def test_identities_of_earlier_releases_are_renewed_by_either_name(lab: ZfsLab) -> None:
    managed, waiting = new_binding(lab, "one"), new_binding(lab, "other")
    lab.driver.manage_snapshot(managed)
    gone = Binding("5-9", lab.name_of("gone"), lab.name_of("snapshot-gone"))

    renewed = lab.driver.renewed_identities([old_form(managed), old_form(waiting), gone])

    assert renewed == {old_form(each).identity: each.identity for each in (managed, waiting)}


def test_record_keeps_its_own_replica_of_two_with_one_old_identity(lab: ZfsLab) -> None:
    new_binding(lab)
    for name in lab.add_twins("daily"):
        binding = bound(lab, name)
        lab.driver.manage_snapshot(old_form(binding))
        renewed = lab.driver.renewed_identities([old_form(binding)])
        lab.driver.unmanage_snapshot(old_form(binding))

        assert renewed == {old_form(binding).identity: binding.identity}


def test_identity_is_renewed_by_the_managed_name_after_a_dataset_was_renamed(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.driver.manage_snapshot(binding)
    lab.zfs.run("zfs", "rename", lab.volume, f"{lab.dataset}/renamed")

    assert lab.driver.renewed_identities([old_form(binding)]) == {old_form(binding).identity: binding.identity}


def test_identity_of_an_object_with_another_name_is_not_renewed(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.zfs.run("zfs", "rename", binding.original_name, lab.name_of("third"))

    assert lab.driver.renewed_identities([old_form(binding)]) == {}


def test_identities_are_renewed_despite_damage_of_another_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"type": "snapshot", "creation": "1", "guid": "5", "createtxg": "9", "objsetid": "7"}
    values |= {"referenced": "0", "volsize": "-", "userrefs": "-", "defer_destroy": "off"}
    lines = [f"{name}\t{key}\t{value}" for name in ("tank/v", "tank/v@well") for key, value in values.items()]
    replace_zfs(tmp_path, monkeypatch, "\n".join(lines), "cannot iterate filesystems: I/O error", 1)
    driver = ZfsDriver("tank/v", zfs_delegated=True)

    assert driver.renewed_identities([Binding("5-9", "tank/v@daily", "tank/v@well")]) == {"5-9": "5-9-7"}


def test_present_identities_need_neither_renewal_nor_a_command(lab: ZfsLab) -> None:
    binding = new_binding(lab)
    lab.go_away()

    assert lab.driver.renewed_identities([binding]) == {}


# Renames.


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


# A ZFS that doesn't answer.


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
