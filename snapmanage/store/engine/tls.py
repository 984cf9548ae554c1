"""TLS to MariaDB and PostgreSQL: certificate and name are checked, or the URL of the database is refused.

PyMySQL checks no certificate with `ssl_cert` alone, no name with `ssl_verify_identity=true`, and uses no TLS at all
with `ssl_disabled=false`, since it takes each text for true. psycopg checks nothing with `sslmode=require`, no name
with `sslmode=verify-ca`, and may use no TLS with `sslrootcert` alone.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import sqlalchemy as sa
from sqlalchemy import Engine, event

from snapmanage import certificates, errors
from snapmanage.certificates import TlsOptions

MARIADB = TlsOptions(
    "[database] connection", "ssl_ca in [database] connection", "ssl_cert and ssl_key in [database] connection"
)
POSTGRESQL = TlsOptions(
    "[database] connection", "sslrootcert in [database] connection", "sslcert and sslkey in [database] connection"
)
_MARIADB_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key")
_MARIADB_CHECKS = ("ssl_check_hostname", "ssl_verify_cert", "ssl_verify_identity")
_MARIADB_NAMES = (*_MARIADB_FILES, "ssl_key_password", "ssl_cipher", *_MARIADB_CHECKS)
_POSTGRESQL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_ABOUT_TLS = re.compile("ssl|tls", re.IGNORECASE)
# As SQLAlchemy reads it: a password may have a question mark.
_DIALECT_AND_LOGIN = re.compile(r"^[^:]*://(?:[^:/]*(?::[^@]*)?@)?")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class MariadbTls:
    """The settings of TLS to MariaDB; without `ca` and `ca_folder`, the system's CAs are trusted."""

    ca: str | None = None
    ca_folder: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password: str | None = None
    ciphers: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that checks certificate and name; raise `OSError` if a file can't be used."""
        made = certificates.client_context(self.ca, self.cert, self.key, self.key_password, self.ca_folder)
        if self.ciphers:
            made.set_ciphers(self.ciphers)
        return made


def require_values(url: str) -> None:
    """Raise `ConfigurationError` if a parameter of TLS has no value: SQLAlchemy would ignore the parameter."""
    query = _DIALECT_AND_LOGIN.sub("", url).partition("?")[2]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if not value and _ABOUT_TLS.search(name):
            raise _refusal(f"{name}=", "has no value, so the connection would use no TLS; set it, or remove it")


def mariadb(url: sa.URL) -> tuple[sa.URL, MariadbTls | None]:
    """Return the URL without the parameters of TLS, and the settings; None if the URL has none.

    Raise `ConfigurationError` if the connection would look encrypted and would not be checked.
    """
    given = parameters(url)
    disabled = given.pop("ssl_disabled", "false").lower()
    if disabled not in (*_TRUE, *_FALSE):
        raise _refusal("ssl_disabled", "must be true or false")
    if not given:
        if disabled in _FALSE and "ssl_disabled" in url.query:
            raise _refusal("ssl_disabled=false", "does not require TLS; set ssl_ca=FILE, or remove it")
        return url, None
    if disabled in _TRUE:
        raise _refusal("ssl_disabled=true", f"contradicts {', '.join(sorted(given))}; remove one of them")
    if url.get_driver_name() != "pymysql":
        raise _refusal(min(given), "is checked with mysql+pymysql:// only; begin the URL with it")
    _require_mariadb_parameters(given)
    tls = MariadbTls(*(given.get(name) for name in (*_MARIADB_FILES, "ssl_key_password", "ssl_cipher")))
    _require_files({name: given[name] for name in _MARIADB_FILES[2:] + _MARIADB_FILES[:1] if name in given})
    try:
        tls.context()
    except OSError as error:
        raise _refusal(
            ", ".join(sorted(given)), f"can't be used ({error}); each file must be in PEM format, and the key must fit"
        ) from error
    return url.difference_update_query([*given, "ssl_disabled"]), tls


def _require_mariadb_parameters(given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if name not in _MARIADB_NAMES:
            raise _refusal(name, f"is not supported; the parameters of TLS are {', '.join(_MARIADB_NAMES)}")
        if name in _MARIADB_CHECKS and value.lower() not in _TRUE:
            raise _refusal(
                f"{name}={value}", "would accept the certificate of any server; remove it, since it is always checked"
            )
    if "ssl_key" in given and "ssl_cert" not in given:
        raise _refusal("ssl_key", "needs ssl_cert; set both, or remove it")


def checks_postgresql(url: sa.URL) -> bool:
    """Return whether the URL requires TLS, which then checks certificate and name.

    Raise `ConfigurationError` if the connection would look encrypted and would not be checked.
    """
    given = parameters(url)
    mode = given.get("sslmode")
    if mode == "disable" and len(given) == 1:
        return False
    if mode == "verify-full":
        if url.query.get("gssencmode", "disable") != "disable":
            raise _refusal("gssencmode", "would replace TLS; remove it")
        files = {name: given[name] for name in _POSTGRESQL_FILES if name in given}
        _require_files({name: path for name, path in files.items() if (name, path) != ("sslrootcert", "system")})
    elif given:
        shown = f"sslmode={mode}" if mode else min(given)
        raise _refusal(
            shown,
            "does not make sure that the connection is encrypted and leads to the right server; set "
            "sslmode=verify-full and sslrootcert=FILE, or only sslmode=disable for a connection without TLS",
        )
    return mode == "verify-full"


def explain_failures(engine: Engine, options: TlsOptions | None, tls: MariadbTls | None = None) -> None:
    """Let each new connection of the engine check the server's certificate, and name the remedy if it fails.

    `options` is None without TLS. The files are read again for each connection, so that a renewed certificate needs no
    restart. Parameters and passwords that the driver can't use are a `ConfigurationError`, without the password.
    """

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> Any:
        if tls is not None:
            named["ssl"] = tls.context()
        try:
            return dialect.connect(*arguments, **named)
        except dialect.loaded_dbapi.Error as error:
            cause = str(error.args[-1]) if error.args else str(error)
            text = certificates.explain(cause, options) if options else None
            if text is None:
                raise
            raise type(error)(*error.args[:-1], text) from error
        except UnicodeError:
            raise errors.ConfigurationError(
                "[database] connection: user or password has a character that the driver can't send; choose others"
            ) from None
        except TypeError as error:
            raise errors.ConfigurationError(
                f"[database] connection has a parameter that the driver does not know: {error}; remove it"
            ) from error


def parameters(url: sa.URL) -> dict[str, str]:
    """Return the parameters of the URL that have to do with TLS."""
    found = {}
    for name, value in url.query.items():
        if _ABOUT_TLS.search(name):
            if not isinstance(value, str):
                raise _refusal(name, "is there more than once; remove all but one")
            found[name] = value
    return found


def _require_files(files: Mapping[str, str]) -> None:
    for name, path in files.items():
        certificates.require_readable(f"[database] connection: {name}", path)


def _refusal(parameter: str, problem: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"[database] connection: {parameter} {problem}")
