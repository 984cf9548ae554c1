"""snapmanage standalone: API, server, relay and audit in one process, without a broker or a database server."""

from pathlib import Path

from oslo_config import cfg

from snapmanage import errors
from snapmanage.api.serving.server import HttpServer
from snapmanage.audit.listener import Listener
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.cmd import api
from snapmanage.cmd.process import private_folder, running
from snapmanage.cmd.process.probes import Probes
from snapmanage.cmd.volume import make_server
from snapmanage.cmd.wiring import configuration, parts, probing
from snapmanage.core.values.listen import parse_listen, require_loopback
from snapmanage.store.engine import schema

HOST = "localhost"
BACKEND = "files"
# Characters with a special meaning in a database's URL or in a configuration file.
RESERVED = set("?$\r\n")
DATABASE = "snapmanage.db"
FILES = ("snapmanage.log", DATABASE, *(f"{DATABASE}-{kind}" for kind in ("journal", "wal", "shm")))


def run(data_dir: Path, listen: str, health_listen: str | None = None) -> None:
    """Serve the folder `data_dir` until SIGTERM or Ctrl-C."""
    host, port = parse_listen(listen)
    require_loopback(host, "snapmanage standalone")
    data_dir = _create_folder(data_dir.absolute())
    with private_folder.lock(data_dir), HttpServer(host, port, threads=16) as server:
        conf = _write_configuration(data_dir)
        conf.set_override("listen", health_listen, group="health")
        with probing.opened(conf) as make_probes:
            _serve(conf, server, make_probes())


def _serve(conf: cfg.ConfigOpts, http: HttpServer, probes: Probes) -> None:
    db = configuration.database(conf)
    schema.sync(db.engine)
    names = configuration.names(conf)
    bus = InProcessBus(names, conf.api.call_timeout_seconds)
    assembled = parts.assemble(conf, db, bus, names)
    audit = bus.consume(names.event_keys(), Listener(db))
    volume = make_server(conf, assembled)
    assembled.start()
    volume.start()
    http.start(api.assemble(conf, assembled), conf.api.max_request_body_size, api.large_bodies(conf))
    timeout = conf.operations.graceful_shutdown_timeout
    ready = f"ready: http://{http.address}/v3 host: {HOST}@{BACKEND}"
    reachable = probing.reachable(db, bus)
    probes.serve(
        lambda: [*assembled.pulses(), *volume.pulses(), *http.pulses()],
        lambda: [*reachable(), *volume.readiness(), audit.readiness()],
    )
    running.until_stopped(ready, timeout + running.SHUTDOWN_SECONDS)
    probes.stop()
    http.stop()
    volume.drain(timeout)
    assembled.stop()
    running.exit_now()


def _create_folder(data_dir: Path) -> Path:
    """Return the folder, created if it is missing; raise `ConfigurationError` if that fails or is not safe."""
    if set(str(data_dir)) & RESERVED:
        raise errors.ConfigurationError(
            f"--data-dir {str(data_dir)!r} must not contain ?, $ or a line break; choose another folder"
        )
    private_folder.create(data_dir)
    private_folder.close_files(data_dir, FILES)
    try:
        (data_dir / "backend").mkdir(exist_ok=True)
    except OSError as error:
        raise errors.ConfigurationError(f"--data-dir: can't create {data_dir}/backend: {error.strerror}") from error
    return data_dir


def _write_configuration(data_dir: Path) -> cfg.ConfigOpts:
    """Write a configuration file into the folder, also for `snapmanage-manage --config-file`, and load it."""
    file = data_dir / "snapmanage.conf"
    text = (
        f"[DEFAULT]\nhost = {HOST}\nenabled_backends = {BACKEND}\ntransport_url = fake://\n"
        f"log_file = {data_dir}/snapmanage.log\n\n"
        f"[database]\nconnection = sqlite:///{data_dir}/{DATABASE}\n\n"
        f"[{BACKEND}]\ndriver = file\ndirectory = {data_dir}/backend\n"
    )
    private_folder.write(file, text)
    return configuration.load(["--config-file", str(file)], "snapmanage")
