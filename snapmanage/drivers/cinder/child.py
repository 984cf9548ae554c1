"""The program of a vendor driver's process: it runs the driver and answers the requests of `process`.

The process has a Cinder of its own, with native threads and without a bus or services. Its configuration has only the
backend's section. Its database is empty and in memory, for drivers that look for Cinder's records. Cinder imports
eventlet, which patches nothing here. The process ends with the connection.

Requests and answers are lines of JSON. The interpreter may have Cinder but none of snapmanage's own dependencies. So
this module imports only the standard library and modules of snapmanage that do the same, and Cinder inside functions.
"""

import contextlib
import json
import logging
import os
import resource
import shlex
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from snapmanage import errors
from snapmanage.drivers.cinder import objects
from snapmanage.drivers.cinder.identities import Driver, all_identities, list_entries
from snapmanage.drivers.system import ceph_bindings

LOG = logging.getLogger(__name__)

NO_LIMIT = sys.maxsize
MAX_TEXT_LENGTH = 1000


class Channel:
    """The connection to snapmanage; lines of several threads don't mix."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self.lines = self._socket.makefile("r", encoding="utf-8")

    def send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, default=str).encode() + b"\n"
        with self._lock:
            self._socket.sendall(line)


class Texts:
    """The texts of the vendor driver for snapmanage's log and errors: on one line, cut, and without `secrets`."""

    def __init__(self) -> None:
        self.secrets: Sequence[str] = ()

    def shown(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:MAX_TEXT_LENGTH]


class LogForwarder(logging.Handler):
    """Sends the vendor driver's log records to snapmanage's log."""

    def __init__(self, channel: Channel, texts: Texts) -> None:
        super().__init__()
        self._channel = channel
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        # A malformed record must not fail the vendor driver.
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001
            text = f"a log record is malformed ({error!r}): {record.msg!r}"
        with contextlib.suppress(Exception):
            self._channel.send({"log": record.levelno, "name": record.name, "text": self._texts.shown(text)})


class VendorDriver:
    """A vendor driver, set up as in `cinder-volume`; each public method but `answer` is an operation of `process`."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._driver: Driver = None
        self._volume_fields: Sequence[str] = ()
        self._snapshot_fields: Sequence[str] = ()

    def open(self, volume_driver: str, section: str, configuration: str, secrets: Sequence[str]) -> None:
        """Create and check the driver; `configuration` is the text of a configuration file with these `secrets`."""
        self._texts.secrets = secrets
        _configure(configuration)
        _run_as_root()
        from cinder import context, coordination
        from cinder.objects import Snapshot, Volume
        from cinder.volume import configuration as options
        from cinder.volume import driver as base
        from cinder.volume import manager
        from oslo_utils import importutils

        self._volume_fields, self._snapshot_fields = list(Volume.fields), list(Snapshot.fields)
        coordination.COORDINATOR.start()
        with contextlib.suppress(errors.ConfigurationError):
            # Only the vendor driver for Ceph imports these modules; they are installed outside of Python's path.
            ceph_bindings.load()
        kind = importutils.import_class(volume_driver)
        if kind.get_manageable_snapshots.__module__ == base.__name__:
            raise NotImplementedError(f"{volume_driver} can't list snapshots; choose another driver")
        driver = kind(
            configuration=options.Configuration(manager.volume_backend_opts, config_group=section),
            host=f"snapmanage@{section}",
            cluster_name=None,
            is_vol_db_empty=True,
            active_backend_id=None,
        )
        driver.do_setup(context.get_admin_context())
        driver.check_for_setup_error()
        driver.set_initialized()
        self._driver = driver

    def check(self) -> None:
        self._driver.check_for_setup_error()

    def snapshots(self, records: Mapping[str, str]) -> dict[str, Any]:
        """Return every snapshot in the form of `get_manageable_snapshots`, with identities and refusals.

        `records` are managed names by the id of their record; the driver marks the snapshots that belong to them.
        """
        parent = objects.volume(self._volume_fields, None)
        managed = [
            objects.snapshot(self._snapshot_fields, record_id, name, parent) for record_id, name in records.items()
        ]
        driver = self._driver
        return self._checked(
            list_entries(driver, lambda: driver.get_manageable_snapshots(managed, None, NO_LIMIT, 0, [], []), True)
        )

    def volumes(self) -> dict[str, Any]:
        driver = self._driver
        return self._checked(
            list_entries(driver, lambda: driver.get_manageable_volumes([], None, NO_LIMIT, 0, [], []), False)
        )

    def _checked(self, listing: Mapping[str, Any]) -> dict[str, Any]:
        """Return the listing; check the backend first where it is empty, as some drivers list none when it is down."""
        if not listing["entries"]:
            self.check()
        return dict(listing)

    def identities(self, ids: Sequence[str]) -> dict[str, str | None] | None:
        """Return the identities of all objects, by name; None where the driver can't read any."""
        found = all_identities(self._driver, ids)
        return None if found is None else dict(found)

    def volume_size_gb(self, volume: str) -> int:
        parent = objects.volume(self._volume_fields, volume)
        return int(self._driver.manage_existing_get_size(parent, {"source-name": volume, "name": volume}))

    def snapshot_size_gb(self, volume: str | None, reference: Mapping[str, str]) -> int:
        """Return the size of an unmanaged snapshot; the driver first checks whether it can be managed."""
        parent = objects.volume(self._volume_fields, volume)
        name = reference["source-name"]
        snapshot = objects.snapshot(self._snapshot_fields, objects.id_of(name), name, parent)
        return int(self._driver.manage_existing_snapshot_get_size(snapshot, dict(reference)))

    def manage(self, record_id: str, name: str, volume: str | None, size_gb: int, reference: Mapping[str, str]) -> None:
        parent = objects.volume(self._volume_fields, volume, size_gb)
        snapshot = objects.snapshot(self._snapshot_fields, record_id, name, parent)
        self._driver.manage_existing_snapshot(snapshot, dict(reference))

    def unmanage(self, record_id: str, name: str, volume: str | None, size_gb: int) -> None:
        parent = objects.volume(self._volume_fields, volume, size_gb)
        self._driver.unmanage_snapshot(objects.snapshot(self._snapshot_fields, record_id, name, parent))

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run an operation; return the request's `id` with the `value`, or with the kind of `error` and a `text`."""
        operation = request["operation"]
        try:
            return {"id": request["id"], "value": getattr(self, operation)(**request["arguments"])}
        except Exception as error:
            LOG.debug("The operation %s of the vendor driver failed.", operation, exc_info=True)
            kind = self._error_kind(error)
            if operation == "open" and kind == "invalid":
                kind = "configuration"
            return {"id": request["id"], "error": kind, "text": self._texts.shown(f"{type(error).__name__}: {error}")}

    def _error_kind(self, error: Exception) -> str:
        """Return the key of snapmanage's error; for an unspecific error, check whether the backend is available."""
        if isinstance(error, ImportError | NotImplementedError):
            return "configuration"
        from cinder import exception

        kinds: Sequence[tuple[Any, str]] = (
            (exception.ManageExistingAlreadyManaged, "already_managed"),
            ((exception.SnapshotIsBusy, exception.VolumeIsBusy), "in_use"),
            ((exception.ManageExistingInvalidReference, exception.ManageExistingVolumeTypeMismatch), "invalid"),
            (exception.InvalidInput, "invalid"),
            (exception.InvalidConfigurationValue, "configuration"),
        )
        for kind, name in kinds:
            if isinstance(error, kind):
                return name
        try:
            self.check()
        except Exception:
            LOG.debug("The vendor driver's check of the backend failed.", exc_info=True)
            return "unavailable"
        return "failed"


def _configure(text: str) -> None:
    """Read the configuration from memory, so that its passwords reach no disk; create Cinder's database."""
    from cinder import objects as cinder_objects
    from cinder.common import config  # noqa: F401 - registers Cinder's options
    from cinder.db import api, models
    from oslo_config import cfg

    cinder_objects.register_all()
    descriptor = os.memfd_create("cinder.conf")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        cfg.CONF(["--config-file", f"/proc/self/fd/{descriptor}"], project="cinder", default_config_dirs=[])
    models.BASE.metadata.create_all(api.main_context_manager.writer.get_engine())


def _run_as_root() -> None:
    """Let privileged functions run in this process if it is root, and through Cinder's own helper otherwise."""
    import cinder.privsep
    import os_brick.privileged
    from cinder import utils
    from oslo_privsep import priv_context

    if os.geteuid() != 0:
        priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
        return
    for context in (cinder.privsep.sys_admin_pctxt, os_brick.privileged.default):
        context.set_client_mode(False)


def _log_death_of_thread(died: threading.ExceptHookArgs) -> None:
    """Log the exception that ended a thread of the vendor driver; standard error would show its text as it is."""
    LOG.error("A thread of the vendor driver ended: %s: %s", died.exc_type.__name__, died.exc_value)


def _serve(channel: Channel, driver: VendorDriver, request: Mapping[str, Any]) -> None:
    """Answer a request; report an answer that is no JSON, such as one with a cycle, as a failure."""
    answer = driver.answer(request)
    try:
        channel.send(answer)
    except (TypeError, ValueError, RecursionError) as error:
        text = f"the vendor driver's answer to {request['operation']!r} can't be sent: {type(error).__name__}"
        channel.send({"id": request["id"], "error": "failed", "text": text})


def main(descriptor: int, folder: str) -> None:
    """Serve requests from an inherited socket until it is closed; then exit at once, even during a call.

    `folder` is this process's scratch folder; it is removed at the end.
    """
    # A service manager sends SIGTERM to all processes. snapmanage finishes its calls first, then closes the connection.
    # A handler is used because the driver's commands would inherit SIG_IGN.
    signal.signal(signal.SIGTERM, lambda *_: None)
    # A core would have the array's passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channel, texts = Channel(descriptor), Texts()
    driver = VendorDriver(texts)
    logging.root.addHandler(LogForwarder(channel, texts))
    threading.excepthook = _log_death_of_thread
    for line in channel.lines:
        request = json.loads(line)
        threading.Thread(target=_serve, args=(channel, driver, request), daemon=True).start()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
