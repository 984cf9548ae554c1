"""From `cfg.CONF` to values: what each main needs of the configuration."""

import glob
import importlib.metadata
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from oslo_config import cfg
from oslo_log import log
from oslo_messaging import opts as messaging_options
from sqlalchemy.exc import ArgumentError

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.core.lifecycle import Retry
from snapmanage.core.quotas import Amount
from snapmanage.drivers.protocol import Driver, Section
from snapmanage.manage.application import Rules
from snapmanage.store.engine.database import Database, connect
from snapmanage.volume.worker import BackendLimits

RABBIT = "oslo_messaging_rabbit"
DRIVERS = "snapmanage.drivers"
QUIET = ["amqp=WARNING", "kombu=WARNING", "oslo.messaging=WARNING", "stevedore=WARNING", "alembic=WARNING"]


def load(arguments: Sequence[str], prog: str, files: Sequence[str] | None = None) -> cfg.ConfigOpts:
    """Read command line and configuration files, and set logging up."""
    options.register(cfg.CONF)
    register_messaging(cfg.CONF)
    log.register_options(cfg.CONF)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *QUIET])
    cfg.CONF(
        list(arguments),
        project="snapmanage",
        prog=prog,
        version=importlib.metadata.version("snapmanage"),
        default_config_files=None if files is None else list(files),
    )
    if not cfg.CONF.log_file:
        cfg.CONF.set_default("use_stderr", True)  # standard output is for what a command has to say
    log.setup(cfg.CONF, "snapmanage")
    return cfg.CONF


def register_messaging(conf: cfg.ConfigOpts) -> None:
    """oslo.messaging's options, with quorum queues: what is queued must outlast a broker's restart.

    Current brokers refuse the stock defaults (RabbitMQ 4.3: no transient queues that aren't exclusive).
    """
    for group, known in messaging_options.list_opts():
        if group in (None, RABBIT):
            conf.register_opts(known, group=group)
    conf.set_default("rabbit_quorum_queue", True, group=RABBIT)
    conf.set_default("rabbit_transient_quorum_queue", True, group=RABBIT)


def load_for_wsgi() -> cfg.ConfigOpts:
    """The same under a WSGI server, without a command line: files from `OS_SNAPMANAGE_CONFIG_FILES`, parted by `;`."""
    named = os.environ.get("OS_SNAPMANAGE_CONFIG_FILES")
    return load([], "snapmanage-api", named.split(";") if named else None)


def database(conf: cfg.ConfigOpts) -> Database:
    if not conf.database.connection:
        raise errors.ConfigurationError("[database] connection is missing: name the database's URL")
    try:
        return connect(conf.database.connection, conf.database.pool_size)
    except (ValueError, ArgumentError):  # whose texts may hold the password
        raise errors.ConfigurationError(
            "[database] connection is no URL of a database: its form is DIALECT+DRIVER://USER:PASSWORD@HOST:PORT/NAME, "
            "with special characters of a password as %XX"
        ) from None
    except ImportError as error:
        raise errors.ConfigurationError(f"[database] connection needs a Python package: {error}") from error


def names(conf: cfg.ConfigOpts) -> Names:
    return Names(conf.control_exchange, conf.volume_topic, tuple(conf.notification_topics))


def rules(conf: cfg.ConfigOpts) -> Rules:
    template = conf.operations.snapshot_name_template
    if template and template.count("%s") != 1:
        raise errors.ConfigurationError("[operations] snapshot_name_template must hold %s once, or be empty")
    return Rules(
        lease=timedelta(seconds=conf.operations.lease_seconds),
        retry=Retry(
            conf.operations.max_attempts,
            timedelta(seconds=conf.operations.retry_delay_seconds),
            timedelta(seconds=conf.operations.retry_max_delay_seconds),
        ),
        service_down=timedelta(seconds=conf.operations.service_down_seconds),
        quota=Amount(conf.quota.snapshots, conf.quota.gigabytes),
        name_template=template,
        both_dialects=conf.notification_dialect == "both",
        idempotency_key_ttl=timedelta(seconds=conf.api.idempotency_key_ttl_seconds),
    )


def backends(conf: cfg.ConfigOpts) -> dict[str, tuple[str, Driver, BackendLimits]]:
    """Each enabled backend by its server's name: the driver's name, the driver, and its pace."""
    if not conf.enabled_backends:
        raise errors.ConfigurationError("enabled_backends is empty: name the sections of the backends to serve")
    name = conf.cluster or conf.host
    return {f"{name}@{section}": _backend(conf, section) for section in conf.enabled_backends}


def _backend(conf: cfg.ConfigOpts, section: str) -> tuple[str, Driver, BackendLimits]:
    _refuse_name(section)
    given = options.register_backend(conf, section)
    _require(section, options.BACKEND, given)
    driver = _driver_class(section, given.driver)
    given = _with_options(conf, section, given.driver, driver.options)
    _require(section, driver.options, given)
    arguments: dict[str, Any] = {option.dest: given[option.dest] for option in driver.options}
    if getattr(driver, "takes_section", False):
        arguments["section"] = _section(conf, section)
    limits = BackendLimits(
        given.driver_calls,
        given.claim_batch,
        conf.operations.scan_interval_seconds,
        given.inventory_ttl_seconds,
        given.driver_timeout_seconds,
    )
    return given.driver, driver(**arguments), limits


def _refuse_name(section: str) -> None:
    """Raise `ConfigurationError` for a section that can't be a backend's; its name is a part of HOST@NAME#POOL."""
    if section in options.GROUPS or section.startswith("oslo_") or {"@", "#"} & set(section):
        raise errors.ConfigurationError(
            f"enabled_backends: {section!r} can't name a backend, since it is a section of snapmanage's own or has "
            "an @ or a # in it; choose another name"
        )


def _with_options(conf: cfg.ConfigOpts, section: str, driver: str, driver_options: Sequence[cfg.Opt]) -> Any:
    try:
        return options.register_backend(conf, section, driver_options)
    except cfg.DuplicateOptError as error:
        raise errors.ConfigurationError(
            f"[{section}] driver {driver!r} has an option {error.opt_name} of its own, which every backend has "
            "already; rename it in the driver"
        ) from error


def _section(conf: cfg.ConfigOpts, name: str) -> Section:
    """A backend's section as it stands in the files, which oslo.config shows of registered options only."""
    values: dict[str, list[str]] = {}
    for path in _files(conf):
        found: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(path, found).parse()
        for key, given in found.get(name, {}).items():
            values.setdefault(key, []).extend(given)
    return Section(name, values, conf.operations.snapshot_name_template)


def _files(conf: cfg.ConfigOpts) -> list[str]:
    """The configuration files that were read, in the order in which they were."""
    folders = [path for folder in conf.config_dir or () for path in sorted(glob.glob(os.path.join(folder, "*.conf")))]
    return [*(conf.config_file or ()), *folders]


def _require(section: str, wanted: Sequence[cfg.Opt], given: Any) -> None:
    for option in wanted:
        if option.required and not given[option.dest]:
            raise errors.ConfigurationError(f"[{section}] {option.name} is missing: {option.help}")


def _driver_class(section: str, name: str) -> Any:
    for found in importlib.metadata.entry_points(group=DRIVERS, name=name):
        return found.load()
    known = ", ".join(sorted(importlib.metadata.entry_points(group=DRIVERS).names))
    raise errors.ConfigurationError(f"[{section}] driver {name!r} is unknown; there are: {known}")
