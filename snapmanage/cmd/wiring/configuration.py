"""The configuration: load it, and turn it into the values that the mains pass on."""

import functools
import glob
import importlib.metadata
import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg
from oslo_log import log
from oslo_messaging import opts as messaging_options
from sqlalchemy.exc import ArgumentError

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.cmd.wiring import logs, origins
from snapmanage.core.quotas import KINDS, Limits
from snapmanage.core.values.retry import Retry
from snapmanage.drivers.protocol import Driver, Section
from snapmanage.manage.rules import Rules
from snapmanage.store.engine import surroundings
from snapmanage.store.engine.database import Database, connect
from snapmanage.volume.limits import BackendLimits

LOG = logging.getLogger(__name__)

RABBIT = "oslo_messaging_rabbit"
DRIVERS = "snapmanage.drivers"
QUIET = [
    "amqp=WARNING",
    "kombu=WARNING",
    "oslo.messaging=WARNING",
    "oslo.messaging.notification=INFO",  # CADF events of the driver `log`
    "stevedore=WARNING",
    "alembic=WARNING",
    "keystonemiddleware._common.config=ERROR",  # it warns of the option that names the audit map
]


def load(arguments: Sequence[str], prog: str, files: Sequence[str] | None = None) -> cfg.ConfigOpts:
    """Read the command line and the configuration files, and set up logging."""
    options.register(cfg.CONF)
    register_messaging(cfg.CONF)
    log.register_options(cfg.CONF)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *QUIET])
    try:
        cfg.CONF(
            list(arguments),
            project="snapmanage",
            prog=prog,
            version=importlib.metadata.version("snapmanage"),
            default_config_files=None if files is None else list(files),
        )
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigurationError(
            f"a configuration file can't be read: {error}; give --config-file the path of a text file in UTF-8"
        ) from error
    if not cfg.CONF.log_file:
        cfg.CONF.set_default("use_stderr", True)  # standard output is for the output of commands
    try:
        logs.setup(cfg.CONF)
    except (OSError, RuntimeError, TypeError, ValueError, log.LogConfigError) as error:
        raise errors.ConfigurationError(f"an option of the log can't be used: {error}; correct or remove it") from error
    return cfg.CONF


def add_metrics_flag() -> None:
    """Add --metrics-listen to the command line, which `load` reads."""
    cfg.CONF.register_cli_opts(options.GROUPS["metrics"], group="metrics")


def load_service(arguments: Sequence[str], prog: str) -> cfg.ConfigOpts:
    """Like `load`, for a process that serves, which has the flag --health-listen."""
    options.register_flags(cfg.CONF)
    return load(arguments, prog)


def register_messaging(conf: cfg.ConfigOpts) -> None:
    """Register the options of oslo.messaging, with quorum queues as default: messages must survive a broker's restart.

    RabbitMQ 4.3 refuses the queues of oslo.messaging's own defaults, which are transient and not exclusive.
    """
    for group, known in messaging_options.list_opts():
        if group in (None, RABBIT):
            conf.register_opts(known, group=group)
    conf.set_default("rabbit_quorum_queue", True, group=RABBIT)
    conf.set_default("rabbit_transient_quorum_queue", True, group=RABBIT)


def load_for_wsgi() -> cfg.ConfigOpts:
    """Like `load`, for a WSGI server: without a command line, with files from `OS_SNAPMANAGE_CONFIG_FILES`.

    The variable's paths are separated by `;`.
    """
    named = os.environ.get("OS_SNAPMANAGE_CONFIG_FILES")
    return load([], "snapmanage-api", named.split(";") if named else None)


def database(conf: cfg.ConfigOpts) -> Database:
    if not conf.database.connection:
        raise errors.ConfigurationError(
            "[database] connection is missing; set it to DIALECT+DRIVER://USER:PASSWORD@HOST:PORT/NAME"
        )
    try:
        url = sa.make_url(conf.database.connection)
        surroundings.refuse_variables(url, os.environ)
        made = connect(conf.database.connection, conf.database.pool_size)
    except (ValueError, ArgumentError):  # its text may contain the password
        raise errors.ConfigurationError(
            f"[database] connection is not a valid database URL; expected {_form_of_url(conf.database.connection)}, "
            "with special characters of the password as %XX"
        ) from None
    except ImportError as error:
        raise errors.ConfigurationError(
            f"[database] connection needs a Python package that is not installed: {error}; install it"
        ) from error
    _warn_of_plain(url)
    return made


def _form_of_url(text: str) -> str:
    """Return the form of a valid URL: for one host, or for several hosts if the text lists them after the user."""
    authority = text.partition("://")[2].partition("/")[0]
    if "," in authority.rpartition("@")[2]:
        return (
            "postgresql+psycopg://USER:PASSWORD@/NAME?host=HOST1:PORT&host=HOST2:PORT&target_session_attrs=read-write "
            "for several hosts, which only PostgreSQL may have"
        )
    return "DIALECT+DRIVER://USER:PASSWORD@HOST:PORT/NAME"


@functools.cache
def _warn_of_plain(url: sa.URL) -> None:
    """Warn once of a connection without TLS to another host; a worker does not repeat its supervisor's warning."""
    if text := surroundings.unencrypted(url):
        LOG.warning("%s", text)


def names(conf: cfg.ConfigOpts) -> Names:
    return Names(conf.control_exchange, conf.volume_topic, tuple(conf.notification_topics))


def rules(conf: cfg.ConfigOpts) -> Rules:
    template = conf.operations.snapshot_name_template
    if template and template.count("%s") != 1:
        raise errors.ConfigurationError("[operations] snapshot_name_template must contain %s once, or be empty")
    return Rules(
        lease=timedelta(seconds=conf.operations.lease_seconds),
        retry=Retry(
            conf.operations.max_attempts,
            timedelta(seconds=conf.operations.retry_delay_seconds),
            timedelta(seconds=conf.operations.retry_max_delay_seconds),
        ),
        service_down=timedelta(seconds=conf.operations.service_down_seconds),
        quota=Limits(*(conf.quota[kind] for kind in KINDS)),
        name_template=template,
        both_dialects=conf.notification_dialect == "both",
        idempotency_key_ttl=timedelta(seconds=conf.api.idempotency_key_ttl_seconds),
        report_upstream=bool(conf.upstream.endpoint),
        origins=origins.load(conf.origins_file),
    )


def backends(conf: cfg.ConfigOpts) -> dict[str, tuple[str, Driver, BackendLimits]]:
    """Return each enabled backend by its server's name: the driver's name, the driver, and the backend's limits.

    Raise `ConfigurationError` for an option that is missing or invalid.
    """
    if not conf.enabled_backends:
        raise errors.ConfigurationError(
            "[DEFAULT] enabled_backends is empty; set it to the names of the sections of backends to serve"
        )
    name = conf.cluster or conf.host
    return {f"{name}@{section}": _backend(conf, section) for section in conf.enabled_backends}


def _backend(conf: cfg.ConfigOpts, section: str) -> tuple[str, Driver, BackendLimits]:
    _refuse_name(section)
    given = options.register_backend(conf, section)
    _require(section, options.BACKEND, given)
    driver = driver_class(section, given.driver)
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
        given.protect_origins,
    )
    return given.driver, driver(**arguments), limits


def _refuse_name(section: str) -> None:
    """Raise `ConfigurationError` if a section can't be a backend's; its name becomes a part of HOST@NAME#POOL."""
    if section in options.GROUPS or section.startswith("oslo_") or {"@", "#"} & set(section):
        raise errors.ConfigurationError(
            f"[DEFAULT] enabled_backends: {section!r} can't be a backend's name, since it contains @ or #, or is a "
            "section of snapmanage's or a library's own options; choose another name"
        )


def _with_options(conf: cfg.ConfigOpts, section: str, driver: str, driver_options: Sequence[cfg.Opt]) -> Any:
    try:
        return options.register_backend(conf, section, driver_options)
    except cfg.DuplicateOptError as error:
        raise errors.ConfigurationError(
            f"[{section}] driver {driver!r} defines the option {error.opt_name}, which every backend already has; "
            "rename it in the driver"
        ) from error


def _section(conf: cfg.ConfigOpts, name: str) -> Section:
    """Return all options in a backend's section of the files, in the order in which oslo.config read these."""
    return Section(name, section_values(conf, name), conf.operations.snapshot_name_template)


def section_values(conf: cfg.ConfigOpts, name: str) -> dict[str, list[str]]:
    """Return all options in a section of the files; oslo.config itself returns only registered options."""
    values: dict[str, list[str]] = {}
    folders = [path for folder in conf.config_dir or () for path in sorted(glob.glob(os.path.join(folder, "*.conf")))]
    for path in [*(conf.config_file or ()), *folders]:
        found: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(path, found).parse()
        for key, given in found.get(name, {}).items():
            values.setdefault(key, []).extend(given)
    return values


def _require(section: str, known: Sequence[cfg.Opt], given: Any) -> None:
    for option in known:
        if option.required and not given[option.dest]:
            raise errors.ConfigurationError(f"[{section}] {option.name} is missing; its help is: {option.help}")


def driver_class(section: str, name: str) -> Any:
    """Return the class of the driver `name`; raise `ConfigurationError` if no installed package has it."""
    for found in importlib.metadata.entry_points(group=DRIVERS, name=name):
        return found.load()
    known = ", ".join(sorted(importlib.metadata.entry_points(group=DRIVERS).names))
    raise errors.ConfigurationError(f"[{section}] driver {name!r} is not installed; installed drivers: {known}")
