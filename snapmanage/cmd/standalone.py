"""snapmanage standalone: API, server, relay and audit in one process, without a broker or a database server."""

import fcntl
import os
from pathlib import Path
from typing import IO

from oslo_config import cfg

from snapmanage import errors
from snapmanage.api.serving.server import HttpServer, parse_listen, require_loopback
from snapmanage.audit.listener import Listener
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.cmd import api
from snapmanage.cmd.process import running
from snapmanage.cmd.volume import make_server
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.store.engine import schema

HOST = "localhost"
BACKEND = "files"
# Characters with a special meaning in a database's URL or in a configuration file.
RESERVED = set("?$\r\n")


def run(data_dir: Path, listen: str) -> None:
    """Serve the folder `data_dir` until SIGTERM or Ctrl-C."""
    host, port = parse_listen(listen)
    require_loopback(host, "snapmanage standalone")
    data_dir = _create_folder(data_dir.absolute())
    with _lock_folder(data_dir), HttpServer(host, port, threads=16) as server:
        _serve(_write_configuration(data_dir), server)


def _serve(conf: cfg.ConfigOpts, http: HttpServer) -> None:
    db = configuration.database(conf)
    schema.sync(db.engine)
    names = configuration.names(conf)
    bus = InProcessBus(names, conf.api.call_timeout_seconds)
    assembled = parts.assemble(conf, db, bus, names)
    bus.consume(names.event_keys(), Listener(db))
    volume = make_server(conf, assembled)
    assembled.start()
    volume.start()
    http.start(api.assemble(conf, assembled), conf.api.max_request_body_size)
    timeout = conf.operations.graceful_shutdown_timeout
    ready = f"ready: http://{http.address}/v3 host: {HOST}@{BACKEND}"
    running.until_stopped(ready, timeout + running.SHUTDOWN_SECONDS)
    http.stop()
    volume.drain(timeout)
    assembled.stop()
    running.exit_now()


def _create_folder(data_dir: Path) -> Path:
    """Return the folder, created if it is missing; raise `ConfigurationError` if that fails."""
    if set(str(data_dir)) & RESERVED:
        raise errors.ConfigurationError(
            f"--data-dir {str(data_dir)!r} must not contain ?, $ or a line break; choose another folder"
        )
    try:
        (data_dir / "backend").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.ConfigurationError(f"--data-dir: can't create {data_dir}/backend: {error.strerror}") from error
    return data_dir


def _write_configuration(data_dir: Path) -> cfg.ConfigOpts:
    """Write a configuration file into the folder, also for `snapmanage-manage --config-file`, and load it."""
    file = data_dir / "snapmanage.conf"
    file.write_text(
        f"[DEFAULT]\nhost = {HOST}\nenabled_backends = {BACKEND}\ntransport_url = fake://\n"
        f"log_file = {data_dir}/snapmanage.log\n\n"
        f"[database]\nconnection = sqlite:///{data_dir}/snapmanage.db\n\n"
        f"[{BACKEND}]\ndriver = file\ndirectory = {data_dir}/backend\n"
    )
    return configuration.load(["--config-file", str(file)], "snapmanage")


def _lock_folder(data_dir: Path) -> IO[str]:
    """Lock the folder; raise `ConfigurationError` if another process has locked it."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise errors.ConfigurationError(
            f"another process serves {data_dir}; stop it, or choose another --data-dir"
        ) from None
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
