"""The addresses of the brokers and the settings of TLS, from `transport_url` and `[oslo_messaging_rabbit]`.

Every option about TLS is honoured or refused. oslo.messaging itself ignores some of them, checks no certificate without
`ssl_ca_file`, and ignores the names of older releases, so that a connection that looks encrypted would not be.
"""

import functools
import logging
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from oslo_config import cfg

from snapmanage import certificates, errors
from snapmanage.bus.rabbit.connecting import Broker, Connector, Tls
from snapmanage.cmd.wiring import configuration
from snapmanage.cmd.wiring.configuration import RABBIT
from snapmanage.core.values.hosts import is_local

if TYPE_CHECKING:
    from snapmanage.bus.rabbit.oslo_client import RpcBroker

LOG = logging.getLogger(__name__)

PORT, TLS_PORT = 5672, 5671
FILES = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
# The values of `ssl_version` by which both sides can still agree on a safe version.
_PROTOCOLS = {"": None, "sslv23": None, "tlsv1_2": ssl.PROTOCOL_TLSv1_2}
_LOGIN_METHODS = ("PLAIN", "AMQPLAIN", "EXTERNAL")
_ABOUT_TLS = re.compile(r"ssl|tls|secure", re.IGNORECASE)
_ABOUT_TLS_OF_RABBIT = re.compile(r"^(rabbit|kombu|amqp)_.*(ssl|tls)", re.IGNORECASE)


def connector(conf: cfg.ConfigOpts) -> Connector:
    """Return a function that connects to the first broker that answers."""
    return _connector(conf, transport_url(conf))


def rpc_brokers(conf: cfg.ConfigOpts) -> list["RpcBroker"]:
    """Return the brokers for oslo.messaging's client: with TLS each broker alone, otherwise all in one."""
    import oslo_messaging

    from snapmanage.bus.rabbit.oslo_client import RpcBroker

    url = transport_url(conf)
    alone = [
        oslo_messaging.TransportURL(
            conf,
            url.transport,
            url.virtual_host,
            [oslo_messaging.TransportHost(host.hostname, host.port or TLS_PORT, host.username, host.password)],
        )
        for host in url.hosts
    ]
    return [RpcBroker(each, _connector(conf, each)) for each in (alone if broker_tls(conf) else [url])]


def _connector(conf: cfg.ConfigOpts, url: Any) -> Connector:
    tls = broker_tls(conf)
    location = conf.get_location("ssl", RABBIT)
    if tls is None and not (location and location.location.is_user_controlled):
        _warn_of_plain(tuple(host.hostname for host in url.hosts if not is_local(host.hostname)))
    brokers = [Broker(host.hostname, broker_address(host, url.virtual_host, tls is not None)) for host in url.hosts]
    return Connector(brokers, tls, conf.oslo_messaging_rabbit.rabbit_login_method)


@functools.cache
def _warn_of_plain(hosts: Sequence[str]) -> None:
    """Warn once of connections without TLS to other hosts; a worker does not repeat its supervisor's warning."""
    if hosts:
        LOG.warning(
            "The connection to the broker on %s shows passwords and data to the network: [%s] ssl is not set. Set "
            "ssl = true and ssl_ca_file, or ssl = false if the network is safe; see docs/how-to/tls.md.",
            ", ".join(hosts),
            RABBIT,
        )


def virtual_host(conf: cfg.ConfigOpts) -> str:
    """Return the broker's virtual host."""
    return transport_url(conf).virtual_host or "/"


def transport_url(conf: cfg.ConfigOpts) -> Any:
    """Return the broker's URL; raise `ConfigurationError` if it is not a URL of RabbitMQ."""
    import oslo_messaging

    try:
        url = oslo_messaging.TransportURL.parse(conf)
    except (ValueError, oslo_messaging.MessagingException):  # its text may contain the password
        raise errors.ConfigurationError(
            "[DEFAULT] transport_url is not a valid broker URL; expected "
            "rabbit://USER:PASSWORD@HOST:PORT/VIRTUAL_HOST, with special characters of the password as %XX"
        ) from None
    if url.transport not in ("rabbit", "kombu"):
        raise errors.ConfigurationError(
            f"[DEFAULT] transport_url begins with {url.transport}://, which does not reach other processes; use "
            "rabbit:// (with TLS too: set [oslo_messaging_rabbit] ssl = true), or run everything in one process with "
            "`snapmanage standalone`"
        )
    if url.query:
        raise errors.ConfigurationError(
            f"[DEFAULT] transport_url has options after its question mark ({', '.join(sorted(url.query))}), which only "
            f"oslo.messaging's client would read; move them to the section [{RABBIT}]"
        )
    if not url.hosts:
        url.hosts.append(oslo_messaging.TransportHost())
    for host in url.hosts:
        host.hostname = host.hostname or "localhost"
    return url


def broker_address(host: Any, virtual_host: str | None, with_tls: bool = False) -> str:
    """Return the URL of a broker for kombu."""
    user, password = quote(host.username or "guest", safe=""), quote(host.password or "guest", safe="")
    name = f"[{host.hostname}]" if ":" in host.hostname else host.hostname
    port = host.port or (TLS_PORT if with_tls else PORT)
    return f"amqp://{user}:{password}@{name}:{port}/{quote(virtual_host or '/', safe='')}"


def broker_tls(conf: cfg.ConfigOpts) -> Tls | None:
    """Return the settings of TLS, None without TLS; raise `ConfigurationError` for an option that has no effect."""
    rabbit = conf.oslo_messaging_rabbit
    for text in (*_misspelled(conf), *_contradictions(rabbit)):
        raise errors.ConfigurationError(text)
    if not rabbit.ssl:
        return None
    if not rabbit.ssl_ca_file:
        conf.set_default("ssl_ca_file", _system_authorities(), group=RABBIT)  # oslo.messaging's client needs it
    tls = Tls(
        rabbit.ssl_ca_file,
        rabbit.ssl_cert_file or None,
        rabbit.ssl_key_file or None,
        _PROTOCOLS[(rabbit.ssl_version or "").lower()],
    )
    _require_usable(tls)
    return tls


def _misspelled(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Yield the options about TLS that oslo.messaging does not have, such as the names of its older releases."""
    known = {option.lower() for option in conf[RABBIT]}
    prefix = f"OS_{RABBIT.upper()}__"
    environment = [name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)]
    given = [*configuration.section_values(conf, RABBIT), *environment]
    old = [name for name in configuration.section_values(conf, "DEFAULT") if _ABOUT_TLS_OF_RABBIT.match(name)]
    wrong = [(RABBIT, name) for name in given if name not in known and _ABOUT_TLS.search(name)]
    for section, name in [*wrong, *(("DEFAULT", name) for name in old)]:
        yield (
            f"[{section}] {name} is not an option, so that the connection to the broker would not be as safe as it "
            f"looks; the options of TLS are ssl, {', '.join(FILES)} in the section [{RABBIT}]"
        )


def _contradictions(rabbit: Any) -> Iterator[str]:
    """Yield each option about TLS whose value can't be honoured."""
    external = rabbit.rabbit_login_method == "EXTERNAL"
    for name in (*FILES, "ssl_version"):
        if rabbit[name] and not rabbit.ssl:
            yield f"[{RABBIT}] {name} is set, but connections are not encrypted: set ssl = true, or remove {name}"
    if rabbit.rabbit_login_method not in _LOGIN_METHODS:
        yield f"[{RABBIT}] rabbit_login_method must be {', '.join(_LOGIN_METHODS[:-1])} or {_LOGIN_METHODS[-1]}"
    if external and not (rabbit.ssl and rabbit.ssl_cert_file):
        yield (
            f"[{RABBIT}] rabbit_login_method = EXTERNAL logs in with the client's certificate: set ssl = true, "
            "ssl_cert_file and ssl_key_file, or use PLAIN"
        )
    if rabbit.ssl_key_file and not rabbit.ssl_cert_file:
        yield f"[{RABBIT}] ssl_key_file is set, but ssl_cert_file is not; set both, or remove ssl_key_file"
    if (rabbit.ssl_version or "").lower() not in _PROTOCOLS:
        yield (
            f"[{RABBIT}] ssl_version = {rabbit.ssl_version} is not safe or does not exist; remove it, so that the "
            "newest version of both sides is used, or set it to TLSv1_2"
        )
    if not rabbit.get("ssl_enforce_hostname_verification", True):
        yield (
            f"[{RABBIT}] ssl_enforce_hostname_verification = false is not supported: the broker's name is always "
            "checked. Remove it, and use a name of the broker's certificate in [DEFAULT] transport_url"
        )
    if rabbit.get("ssl_enforce_fips_mode", False):
        yield (
            f"[{RABBIT}] ssl_enforce_fips_mode = true has no effect with OpenSSL 3; remove it, and enable FIPS in the "
            "configuration of OpenSSL"
        )


def _require_usable(tls: Tls) -> None:
    """Raise `ConfigurationError` if a file can't be read, or the certificates can't be used."""
    for name, path in zip(FILES, (tls.ca_file, tls.cert_file, tls.key_file), strict=True):
        certificates.require_readable(f"[{RABBIT}] {name}", path)
    try:
        tls.context()
    except OSError as error:
        raise errors.ConfigurationError(
            f"[{RABBIT}] {', '.join(FILES)}: the certificates can't be used ({error}); each must be a file in PEM "
            "format, and the key must belong to the certificate and have no password"
        ) from error


def _system_authorities() -> str:
    path = ssl.get_default_verify_paths().cafile
    if path is None:
        raise errors.ConfigurationError(
            f"[{RABBIT}] ssl_ca_file is missing, and this system has no file of trusted CAs; set it to the file of the "
            "CA that issued the broker's certificate"
        )
    return path
