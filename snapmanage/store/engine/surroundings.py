"""Settings of a connection to the database outside of its URL, and connections that leave the host without TLS.

libpq takes each parameter that the URL lacks from a service file, then from the environment. PyMySQL takes them from an
option file. Such settings are refused, since the check of TLS sees only the URL.
"""

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.values.hosts import is_local
from snapmanage.store.engine import tls

_OTHER_FILES = ("service", "servicefile", "read_default_file", "read_default_group")
_VARIABLES = ("PGSERVICE", "PGHOSTADDR", "PGREQUIRESSL")
_VARIABLES_OF_TLS = "PGSSL"
_OPTIONS = {
    "postgresql": "sslmode=verify-full and sslrootcert=FILE, or sslmode=disable if the network is safe",
    "mysql": "ssl_ca=FILE, or ssl_disabled=true if the network is safe",
}


def refuse_other_files(url: sa.URL) -> None:
    """Raise `ConfigurationError` if the URL names a file of further settings."""
    for name in _OTHER_FILES:
        if name in url.query:
            raise errors.ConfigurationError(
                f"[database] connection: {name} names settings outside of the URL, whose TLS is not checked; write "
                "them into the URL"
            )


def refuse_variables(url: sa.URL, environment: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` if a variable of the environment would change the connection that the URL describes.

    Only libpq reads such variables.
    """
    if url.get_backend_name() != "postgresql":
        return
    names = (*_VARIABLES, *(() if any(_hosts(url)) else ("PGHOST",)))
    for name, value in environment.items():
        if value and (name in names or name.startswith(_VARIABLES_OF_TLS)):
            raise errors.ConfigurationError(
                f"the variable {name} of the environment would change the connection of [database] connection; remove "
                "it, and write the setting into the URL"
            )


def unencrypted(url: sa.URL) -> str | None:
    """Describe a connection to another host whose URL does not mention TLS, with the remedy; None for all others."""
    backend = "postgresql" if url.get_backend_name() == "postgresql" else "mysql"
    hosts = sorted({host for host in _hosts(url) if not is_local(host)})
    if not hosts or "unix_socket" in url.query or tls.parameters(url):
        return None
    return (
        f"The connection to the database on {', '.join(hosts)} shows passwords and data to the network: "
        f"[database] connection has no option of TLS. Add {_OPTIONS[backend]}; see docs/how-to/tls.md."
    )


def _hosts(url: sa.URL) -> Iterator[str]:
    """Yield the hosts of a URL without their ports; a URL of PostgreSQL may have several, also in its parameters."""
    given = [url.host, *(part for name in ("host", "hostaddr") for part in url.normalized_query.get(name, ()))]
    for text in given:
        for host in (text or "").split(","):
            if host:
                yield host.partition(":")[0] if host.count(":") == 1 else host
