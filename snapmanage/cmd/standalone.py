"""snapmanage standalone: everything in one process, for one machine with nothing installed."""

import fcntl
import os
from pathlib import Path
from typing import IO

from oslo_config import cfg

from snapmanage import errors
from snapmanage.api.serving.server import HttpServer, parse_listen, require_loopback
from snapmanage.audit import Listener
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.cmd import api
from snapmanage.cmd.process import running
from snapmanage.cmd.volume import make_server
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.store.engine import schema

HOST = "localhost"
BACKEND = "files"
# What means something else in a database's URL, or in a configuration.
UNWRITABLE = set("?$\r\n")


def run(data_dir: Path, listen: str) -> None:
    """Serve until SIGTERM or Ctrl-C, on what `data_dir` holds."""
    host, port = parse_listen(listen)
    require_loopback(host, "snapmanage standalone")
    data_dir = _made(data_dir.absolute())
    with _only_one(data_dir), HttpServer(host, port, threads=16) as server:
        _serve(_configure(data_dir), server)


def _serve(conf: cfg.ConfigOpts, http: HttpServer) -> None:
    db = configuration.database(conf)
    schema.sync(db.engine)
    names = configuration.names(conf)
    bus = InProcessBus(names, conf.api.call_timeout_seconds)
    everything = parts.assemble(conf, db, bus, names)
    bus.consume(names.audited_queues(), Listener(db))
    volume = make_server(conf, everything)
    everything.start()
    volume.start()
    http.start(api.assemble(conf, everything), conf.api.max_request_body_size)
    timeout = conf.operations.graceful_shutdown_timeout
    ready = f"ready: http://{http.address}/v3 host: {HOST}@{BACKEND}"
    running.until_stopped(ready, timeout + running.ENDING_SECONDS)
    http.stop()
    volume.drain(timeout)
    everything.stop()
    running.leave()


def _made(data_dir: Path) -> Path:
    """The folder, made where it is missing; `ConfigurationError` where it can't be."""
    if set(str(data_dir)) & UNWRITABLE:
        raise errors.ConfigurationError(f"the folder's path {str(data_dir)!r} must have no ?, no $ and no line break")
    try:
        (data_dir / "backend").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.ConfigurationError(f"can't make {data_dir}/backend: {error.strerror}") from error
    return data_dir


def _configure(data_dir: Path) -> cfg.ConfigOpts:
    """A configuration of its own, left in the folder for `snapmanage-manage --config-file`."""
    file = data_dir / "snapmanage.conf"
    file.write_text(
        f"[DEFAULT]\nhost = {HOST}\nenabled_backends = {BACKEND}\ntransport_url = fake://\n"
        f"log_file = {data_dir}/snapmanage.log\n\n"
        f"[database]\nconnection = sqlite:///{data_dir}/snapmanage.db\n\n"
        f"[{BACKEND}]\ndriver = file\ndirectory = {data_dir}/backend\n"
    )
    return configuration.load(["--config-file", str(file)], "snapmanage")


def _only_one(data_dir: Path) -> IO[str]:
    """Hold the folder; `ConfigurationError` while another process does."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise errors.ConfigurationError(f"{data_dir} is served by another process already") from None
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
