"""Assembly of the reporter, if `[upstream] endpoint` is set; without it, no process imports keystoneauth."""

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oslo_config import cfg

from snapmanage import certificates, errors
from snapmanage.core.values.hosts import is_local
from snapmanage.store.engine.database import Database

if TYPE_CHECKING:
    from snapmanage.upstream.client import UpstreamClient
    from snapmanage.upstream.reporter import Reporter

LOG = logging.getLogger(__name__)

GROUP = "upstream"
UNAUTHENTICATED = "none"


def make_reporter(conf: cfg.ConfigOpts, db: Database) -> "Reporter | None":
    """Return the reporter; None without an endpoint. Raise `ConfigurationError` for an option that can't be used."""
    if (client := make_client(conf)) is None:
        return None
    from snapmanage.upstream.reporter import Reporter

    options = conf.upstream
    return Reporter(db, client, options.interval_seconds, options.parallel, options.timeout_seconds)


def make_client(conf: cfg.ConfigOpts) -> "UpstreamClient | None":
    """Return the client of the endpoint, which has sent nothing yet; None without an endpoint."""
    options = conf.upstream
    if not options.endpoint:
        return None
    _check_endpoint(options.endpoint)
    for name in ("cafile", "certfile", "keyfile"):
        certificates.require_readable(f"[upstream] {name}", options[name])
    try:
        from keystoneauth1.session import Session

        from snapmanage.upstream import client
    except ImportError as error:
        raise errors.ConfigurationError(
            f"[upstream] endpoint needs a Python package that is not installed: {error}; install snapmanage[upstream]"
        ) from error
    session = Session(
        auth=_auth_plugin(conf),
        session=client.http_session(options.parallel),
        verify=options.cafile or True,
        cert=_certificate(options),
        redirect=False,
        timeout=options.timeout_seconds,
    )
    return client.UpstreamClient(
        options.endpoint, session, options.auth_type != UNAUTHENTICATED, options.timeout_seconds
    )


def _auth_plugin(conf: cfg.ConfigOpts) -> Any:
    """Return the plugin of `auth_type` with its options in the section; None for `none`.

    Some plugins have an option `endpoint` of their own, which means the same.
    """
    from keystoneauth1 import loading
    from keystoneauth1.exceptions import ClientException

    if not (name := conf.upstream.auth_type):
        raise errors.ConfigurationError(
            "[upstream] auth_type is missing; set it to password, with the options of the credentials, or to none for "
            "a Cinder with auth_strategy noauth"
        )
    if name == UNAUTHENTICATED:
        return None
    try:
        loader: Any = loading.get_plugin_loader(name)
        known = [option for option in loading.get_auth_plugin_conf_options(name) if option.dest not in conf.upstream]
        conf.register_opts(known, group=GROUP)
        return loader.load_from_options_getter(lambda option: conf.upstream[option.dest])
    except (ClientException, cfg.Error) as error:
        raise errors.ConfigurationError(f"[upstream] has no usable credentials: {error}; correct auth_type") from error


def _check_endpoint(endpoint: str) -> None:
    """Raise `ConfigurationError` for a URL that can't be the endpoint, and warn of one that shows the credentials."""
    if (host := _host(endpoint)) is None:
        raise errors.ConfigurationError(
            "[upstream] endpoint is not the URL of a version 3; expected http(s)://HOST:PORT/v3, without a project, a "
            "user or a query"
        )
    if endpoint.startswith("http:") and not is_local(host):
        LOG.warning(
            "The connection to %s shows tokens to the network: [upstream] endpoint has no TLS. Use https.", host
        )


def _host(endpoint: str) -> str | None:
    """Return the host of a URL of version 3; None if it is another URL, or has a user, a query or an invalid port."""
    try:
        url = urlsplit(endpoint)
        surplus = url.username or url.password or url.query or url.fragment or url.port == 0
    except ValueError:
        return None
    is_version = url.path.rstrip("/").endswith("/v3")
    return url.hostname if url.scheme in ("http", "https") and is_version and not surplus else None


def _certificate(options: Any) -> tuple[str, str] | str | None:
    if options.certfile and options.keyfile:
        return options.certfile, options.keyfile
    certificate: str | None = options.certfile
    return certificate
