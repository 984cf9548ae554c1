"""The host's lvm.conf changes neither listings nor results of renames; each setting is tried on the real commands."""

import re
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group

CHANGING = r"(report|log)/.*|global/(units|suffix|si_unit_consistency|lvdisplay_shows_full_device_path|umask)"
SETTING = re.compile(r"^\t(\w+)=(.*)$", re.MULTILINE)
WORST = 'log { prefix="## " command_names=1 verbose=3 } report { compact_output=1 separator="|" time_format="%Y" }\n'


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    privsep.start()
    with metadata_group(tmp_path_factory.mktemp("group")) as group:
        group.add_volumes("thick")
        group.add_thick_snapshots("thick", "thick-daily")
        group.add_pool()
        group.add_thin_volumes("thin")
        group.add_thin_snapshots("thin", "thin-daily")
        group.lvm("lvchange", "--addtag", "one", "--addtag", "two", f"{group.name}/thin-daily")
        yield group


@pytest.fixture
def driver(group: MetadataGroup) -> Iterator[LvmDriver]:
    yield LvmDriver(group.name, str(group.system_dir), 30)
    group.configure()


@pytest.fixture(scope="module")
def default_listing(group: MetadataGroup) -> list[BackendSnapshot]:
    """Return the listing without any setting."""
    group.configure()
    return LvmDriver(group.name, str(group.system_dir), 30).list_snapshots()


def settings(group: MetadataGroup) -> dict[str, str]:
    """Return every setting of this lvm2 that could change a report or a message, with its default."""
    text = group.lvm("lvmconfig", "--typeconfig", "full", "--unconfigured")
    sections = re.findall(r"^(\w+) {\n(.*?)^}", text, re.DOTALL | re.MULTILINE)
    known = {f"{section}/{name}": value for section, body in sections for name, value in SETTING.findall(body)}
    return {name: value for name, value in known.items() if re.fullmatch(CHANGING, name)}


def other_values(name: str, default: str) -> list[str]:
    """Return two values that differ from the default of a setting; some are nonsense."""
    if name == "global/units":
        # A nonsensical unit makes every command of lvm2 fail.
        return ['"H"', '"m"']
    if default.startswith('"'):
        return ['"## "', '""']
    if default.startswith("["):
        return ['["## "]', "[]"]
    return [value for value in ("1", "0", "7") if value != default][:2]


def configurations(group: MetadataGroup, values: int) -> Iterator[str]:
    """Yield configurations with one setting each, for this number of values of it."""
    for name, default in settings(group).items():
        section, _, setting = name.partition("/")
        yield from (f"{section} {{ {setting}={value} }}\n" for value in other_values(name, default)[:values])
    yield f'log {{ file="{group.system_dir}/log" level=7 }}\n'


def result_or_error(act: Callable[[], object]) -> object:
    try:
        return act()
    except errors.SnapmanageError as failure:
        return type(failure)


def bind(driver: LvmDriver, name: str) -> Binding:
    found = driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, driver.managed_name(found, f"mine-{uuid.uuid4()}"))


def test_no_setting_of_reports_and_logs_changes_the_listing(
    group: MetadataGroup, driver: LvmDriver, default_listing: list[BackendSnapshot]
) -> None:
    listed = {}
    for text in configurations(group, values=2):
        group.configure(text)
        listed[text] = result_or_error(driver.list_snapshots)

    assert len(listed) > 100
    assert {text: result for text, result in listed.items() if result != default_listing} == {}


def test_no_setting_of_reports_and_logs_changes_the_result_of_a_rename(group: MetadataGroup, driver: LvmDriver) -> None:
    results = {}
    names = ["thin-daily", "renamed"]
    for text in configurations(group, values=1):
        group.configure(text)
        results[text] = (
            result_or_error(partial(driver.rename, *names)),
            result_or_error(partial(driver.rename, "absent", "new")),
        )
        names.reverse()
    group.configure()
    result_or_error(partial(driver.rename, "renamed", "thin-daily"))

    assert {text: result for text, result in results.items() if result != (None, errors.SourceNotFound)} == {}


def test_settings_for_hosts_with_a_tag_change_nothing(
    group: MetadataGroup, driver: LvmDriver, default_listing: list[BackendSnapshot]
) -> None:
    group.configure("tags { loud { } }\n")
    (group.system_dir / "lvm_loud.conf").write_text(WORST)

    assert driver.list_snapshots() == default_listing


def test_environment_of_the_server_changes_nothing(
    group: MetadataGroup, driver: LvmDriver, default_listing: list[BackendSnapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    (group.system_dir / "profile").mkdir(exist_ok=True)
    (group.system_dir / "profile" / "loud.profile").write_text("report { compact_output=1 prefixes=1 }\n")
    loud = {"LVM_COMMAND_PROFILE": "loud", "LVM_VG_NAME": "other", "LVM_LOG_FILE_EPOCH": "x", "LC_ALL": "de_DE.UTF-8"}
    for name, value in {**loud, "LVM_OUT_FD": "2", "LVM_ERR_FD": "1", "LVM_REPORT_FD": "2"}.items():
        monkeypatch.setenv(name, value)

    assert driver.list_snapshots() == default_listing


def test_in_test_mode_everything_is_listed_as_unusable_and_refused(group: MetadataGroup, driver: LvmDriver) -> None:
    binding = bind(driver, "thin-daily")
    group.configure("global { test=1 }\n")

    assert {found.unsafe for found in driver.list_snapshots()} == {Unsafe.UNUSABLE}
    with pytest.raises(errors.Unusable, match="test mode"):
        driver.manage_snapshot(binding)


def test_rename_in_test_mode_does_not_count_as_done(group: MetadataGroup, driver: LvmDriver) -> None:
    binding = bind(driver, "thick-daily")
    driver.manage_snapshot(binding)
    group.configure("global { test=1 }\n")

    with pytest.raises(errors.Unusable, match="test mode"):
        driver.unmanage_snapshot(binding)

    group.configure()
    assert binding.managed_name in group.names()
    driver.unmanage_snapshot(binding)
