"""The process in which a vendor's driver of Cinder runs, and what it answers to `process`.

It has a Cinder of its own: an empty configuration but for the backend's section, an empty database in
memory for drivers that look what Cinder knows, native threads, no bus, no services. eventlet is
imported, since Cinder imports it, and patches nothing. The process ends with the connection.

Requests and answers are lines of JSON. This module may run under an interpreter that has Cinder, but
nothing of what snapmanage needs: it imports Cinder when it is asked to.
"""

import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from snapmanage import errors
from snapmanage.drivers.cinder import objects as plain
from snapmanage.drivers.cinder.identities import Driver, listed, objects
from snapmanage.drivers.system import ceph_bindings

LOG = logging.getLogger(__name__)

EVERYTHING = sys.maxsize
LONGEST_TEXT = 1000


class Channel:
    """The connection to snapmanage; whole lines, whichever thread sends them."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self.lines = self._socket.makefile("r", encoding="utf-8")

    def send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, default=str).encode() + b"\n"
        with self._lock:
            self._socket.sendall(line)


class Forward(logging.Handler):
    """Hands the driver's log records to snapmanage's log."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._channel.send({"log": record.levelno, "name": record.name, "text": _text(record.getMessage())})
        except OSError:
            self.handleError(record)


class Host:
    """A vendor's driver, set up as `cinder-volume` would set it up."""

    def __init__(self) -> None:
        self._driver: Driver = None
        self._volume_fields: Sequence[str] = ()
        self._snapshot_fields: Sequence[str] = ()

    def open(self, volume_driver: str, section: str, configuration: str) -> None:
        """Make and check the driver; `configuration` is the text of a configuration file."""
        _configure(configuration)
        _run_as_root()
        from cinder import context, coordination, objects
        from cinder.volume import configuration as options
        from cinder.volume import driver as base
        from cinder.volume import manager
        from oslo_utils import importutils

        self._volume_fields, self._snapshot_fields = list(objects.Volume.fields), list(objects.Snapshot.fields)
        coordination.COORDINATOR.start()
        with contextlib.suppress(errors.ConfigurationError):
            # Only Ceph's driver imports them, from where its distribution has put them.
            ceph_bindings.load()
        kind = importutils.import_class(volume_driver)
        if kind.get_manageable_snapshots.__module__ == base.__name__:
            raise NotImplementedError(f"{volume_driver} can't list snapshots, so nothing could be checked with it")
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
        """Every snapshot in the form of `get_manageable_snapshots`, and identities where the vendor's driver tells.

        `records` are names by the id of their record: the driver marks what it takes for theirs.
        """
        of = plain.volume(self._volume_fields, None)
        managed = [plain.snapshot(self._snapshot_fields, record_id, name, of) for record_id, name in records.items()]
        driver = self._driver
        return self._believed(
            listed(driver, lambda: driver.get_manageable_snapshots(managed, None, EVERYTHING, 0, [], []), True)
        )

    def volumes(self) -> dict[str, Any]:
        driver = self._driver
        return self._believed(
            listed(driver, lambda: driver.get_manageable_volumes([], None, EVERYTHING, 0, [], []), False)
        )

    def _believed(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """A listing, where it isn't empty only because some drivers take a backend that is away for an empty one."""
        if not told["entries"]:
            self.check()
        return dict(told)

    def objects(self, wanted: Sequence[str]) -> dict[str, str | None] | None:
        """Identities by name of objects of whatever kind, where the vendor's driver tells; see `identities`."""
        found = objects(self._driver, wanted)
        return None if found is None else dict(found)

    def size_gb(self, volume: str) -> int:
        """The size of a volume, asked for alone."""
        of = plain.volume(self._volume_fields, volume)
        return int(self._driver.manage_existing_get_size(of, {"source-name": volume, "name": volume}))

    def snapshot_size_gb(self, volume: str | None, reference: Mapping[str, str]) -> int:
        """The size of a snapshot that isn't managed, after the driver's own checks of whether it may be."""
        of = plain.volume(self._volume_fields, volume)
        name = reference["source-name"]
        handed = plain.snapshot(self._snapshot_fields, plain.id_of(name), name, of)
        return int(self._driver.manage_existing_snapshot_get_size(handed, dict(reference)))

    def manage(self, record_id: str, name: str, volume: str | None, size_gb: int, reference: Mapping[str, str]) -> None:
        of = plain.volume(self._volume_fields, volume, size_gb)
        handed = plain.snapshot(self._snapshot_fields, record_id, name, of)
        self._driver.manage_existing_snapshot(handed, dict(reference))

    def unmanage(self, record_id: str, name: str, volume: str | None, size_gb: int) -> None:
        of = plain.volume(self._volume_fields, volume, size_gb)
        self._driver.unmanage_snapshot(plain.snapshot(self._snapshot_fields, record_id, name, of))

    def answer(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What came of an operation: `value`, or `error` (its kind) with `text`."""
        try:
            return {"value": getattr(self, operation)(**arguments)}
        except Exception as error:
            LOG.debug("%s failed.", operation, exc_info=True)
            kind = self._kind(error)
            if operation == "open" and kind == "invalid":
                kind = "configuration"
            return {"error": kind, "text": _text(f"{type(error).__name__}: {error}")}

    def _kind(self, error: Exception) -> str:
        """Which of snapmanage's errors it is; what the driver can't say itself, a check of its backend may."""
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
            LOG.debug("The check of the backend failed.", exc_info=True)
            return "unavailable"
        return "failed"


def _configure(text: str) -> None:
    """Read the configuration from memory, so that what is secret in it touches no disk; give Cinder its database."""
    from cinder import objects
    from cinder.common import config  # noqa: F401 - registers Cinder's options
    from cinder.db import api, models
    from oslo_config import cfg

    objects.register_all()
    descriptor = os.memfd_create("cinder.conf")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        cfg.CONF(["--config-file", f"/proc/self/fd/{descriptor}"], project="cinder", default_config_dirs=[])
    models.BASE.metadata.create_all(api.main_context_manager.writer.get_engine())


def _run_as_root() -> None:
    """Let what needs root run here where we are root, and through Cinder's own helper otherwise."""
    import cinder.privsep
    import os_brick.privileged
    from cinder import utils
    from oslo_privsep import priv_context

    if os.geteuid() != 0:
        priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
        return
    for context in (cinder.privsep.sys_admin_pctxt, os_brick.privileged.default):
        context.set_client_mode(False)


def _text(said: str) -> str:
    return " ".join(said.split())[:LONGEST_TEXT]


def _serve(channel: Channel, host: Host, request: Mapping[str, Any]) -> None:
    answer = host.answer(request["operation"], request["arguments"])
    channel.send({"id": request["id"], **answer})


def main(descriptor: int, folder: str) -> None:
    """Serve requests from an inherited socket until it is closed; then end, whatever is still under way.

    `folder` is this process's own, and goes with it.
    """
    # Whoever stops the service stops snapmanage, which lets calls finish, and then closes the connection.
    # A handler and not SIG_IGN, which the driver's commands would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    channel, host = Channel(descriptor), Host()
    logging.root.addHandler(Forward(channel))
    for line in channel.lines:
        threading.Thread(target=_serve, args=(channel, host, json.loads(line)), daemon=True).start()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
