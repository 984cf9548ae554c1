"""The process of a vendor driver: options, log records, deadlines, and its end."""

import logging
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.drivers.cinder import process
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.testing.waiting import until
from tests.contract.cinder.array import TEMPLATE, VENDOR, Array


def test_vendor_driver_reads_its_own_options(array: Array, driver_with_options: CinderDriver) -> None:
    snapshot = driver_with_options.find_snapshot(Reference.named("daily"))

    assert snapshot.extra == {"port": "8443", "targets": "['one', 'two']"}


def test_cinder_is_not_imported_into_this_process(array: Array) -> None:
    array.driver.check()

    assert sys.modules.get("eventlet") is None
    assert "cinder" not in sys.modules
    assert "backend_defaults" not in cfg.CONF


def test_secret_option_is_on_no_command_line_and_no_disk(array: Array, driver_with_options: CinderDriver) -> None:
    driver_with_options.check()
    child = driver_with_options.process.child
    assert child
    public = [Path(f"/proc/{child.pid}/cmdline"), Path(f"/proc/{child.pid}/environ")]
    files = [path for path in Path(child.folder).rglob("*") if path.is_file()]

    assert not [path for path in (*public, *files) if b"hunter2" in path.read_bytes()]


def test_vendor_driver_leaves_no_core(array: Array) -> None:
    array.driver.check()

    limits = Path(f"/proc/{array.child.pid}/limits").read_text()

    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_answer_that_is_too_long_is_an_error(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_ANSWER_CHARACTERS", 10)

    with pytest.raises(errors.BackendUnavailable, match="process of the vendor driver ended"):
        array.make_driver().check()


def test_log_records_of_the_vendor_driver_are_forwarded(array: Array, caplog: pytest.LogCaptureFixture) -> None:
    array.driver.list_snapshots()

    assert (VENDOR, logging.WARNING, "Listing port 443.") in caplog.record_tuples


def test_failures_of_log_records_and_threads_are_logged_without_secrets(
    array: Array, driver_with_options: CinderDriver, caplog: pytest.LogCaptureFixture
) -> None:
    (array.folder / "malformed-log").touch()

    assert len(driver_with_options.list_snapshots()) == 2

    assert "a log record is malformed" in caplog.text
    assert "A thread of the vendor driver ended: ValueError: " in caplog.text
    assert "hunter" not in caplog.text


def test_answer_that_contains_itself_is_an_error_at_once(array: Array) -> None:
    (array.folder / "cycle").touch()

    with pytest.raises(errors.BackendError, match="can't be sent"):
        array.driver.list_snapshots()


def test_secret_of_the_section_is_in_no_error_and_no_log(
    array: Array, driver_with_options: CinderDriver, caplog: pytest.LogCaptureFixture
) -> None:
    (array.folder / "reveal").touch()

    with pytest.raises(errors.BackendError, match=r"login \*\*\* \[.\*\*\*.\]") as caught:
        driver_with_options.list_snapshots()

    assert "hunter" not in f"{caught.value}{caplog.text}"
    assert "login ***" in caplog.text


def test_hanging_call_is_killed_at_its_deadline_and_the_next_is_answered(array: Array) -> None:
    hang = array.folder / "hang"
    hang.touch()

    with array.short_deadline(), pytest.raises(errors.BackendUnavailable, match="cinder_timeout_seconds"):
        array.driver.list_snapshots()
    hang.unlink()

    assert len(array.driver.list_snapshots()) == 2


def test_call_fails_when_its_process_is_killed_and_the_next_is_answered(array: Array) -> None:
    hang, child = array.folder / "hang", array.child
    hang.touch()

    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(array.driver.list_snapshots)
        until(lambda: child.pending_calls, "the call to be sent")
        os.kill(child.pid, signal.SIGKILL)
        failure = call.exception(20)
    hang.unlink()

    assert isinstance(failure, errors.BackendUnavailable)
    assert len(array.driver.list_snapshots()) == 2


def test_vendor_driver_ends_when_snapmanage_is_killed(array: Array) -> None:
    program = (
        "import time; from snapmanage.drivers.protocol import Section\n"
        "from snapmanage.drivers.cinder.driver import CinderDriver\n"
        f"section = Section('array', {{'array_file': [{str(array.file)!r}]}}, {TEMPLATE!r})\n"
        f"driver = CinderDriver({f'{VENDOR}.ArrayDriver'!r}, section=section); driver.check()\n"
        "child = driver.process.child; print(child.pid, child.folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        child, folder = owner.stdout.readline().split()
        owner.kill()

    until(lambda: not Path(f"/proc/{child}").exists(), "the vendor driver to end")
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("volume_driver", "reason"),
    [
        ("", "volume_driver"),
        (f"{VENDOR}.NoDriver", "NoDriver"),
        ("absent.module.Driver", "absent"),
        (f"{VENDOR}.BlindDriver", "can't list snapshots"),
        ("cinder.volume.drivers.hpe.hpe_3par_iscsi.HPE3PARISCSIDriver", "Cinder hasn't named"),
    ],
)
def test_unusable_vendor_driver_is_a_configuration_error_with_the_reason(volume_driver: str, reason: str) -> None:
    driver = CinderDriver(volume_driver)

    with pytest.raises(errors.ConfigurationError, match=reason):
        driver.check()


@pytest.mark.parametrize("python", [f"{sys.base_prefix}/bin/python3", "/absent/python"])
def test_interpreter_without_cinder_is_a_configuration_error(array: Array, python: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        array.make_driver(python=python).check()
