"""A client of RabbitMQ's management API, which alone shows the policies of queues."""

import json
import ssl
import time
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit

from oslo_config import cfg

from snapmanage import certificates, errors
from snapmanage.certificates import TlsOptions
from snapmanage.cmd.wiring import broker_connection

TIMEOUT_SECONDS = 10
# The management API shows the policy of a new queue after some seconds.
POLICY_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.5
# Bytes. The description of a queue has a few thousand.
LARGEST_ANSWER = 1024**2
OPTIONS = TlsOptions(
    "[DEFAULT] broker_management_url",
    "[oslo_messaging_rabbit] ssl_ca_file",
    "[oslo_messaging_rabbit] ssl_cert_file and ssl_key_file",
)
_POLICY = "effective_policy_definition"


def describe(conf: cfg.ConfigOpts, queue: str) -> Mapping[str, Any]:
    """Return the management API's description of a queue, once it includes the policy: after 5 s for a new queue."""
    deadline = time.monotonic() + POLICY_TIMEOUT_SECONDS
    while _POLICY not in (shown := _queue(conf, queue)):
        if time.monotonic() > deadline:
            raise errors.Unavailable(
                f"the management API does not show the policy of queue {queue}; check that statistics are enabled"
            )
        time.sleep(POLL_SECONDS)
    return shown


def _queue(conf: cfg.ConfigOpts, queue: str) -> Mapping[str, Any]:
    address, login = _address(conf)
    virtual_host = quote(broker_connection.virtual_host(conf), safe="")
    request = urllib.request.Request(f"{address}/api/queues/{virtual_host}/{quote(queue, safe='')}")
    request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    try:
        with _opener(conf).open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _read(answer)
    except (OSError, ValueError, HTTPException, RecursionError) as error:
        if isinstance(error, HTTPError):
            error.close()
        cause = certificates.explain(str(error), OPTIONS) or error
        raise errors.Unavailable(f"the management API at {address} can't show queue {queue}: {cause}") from error


def _read(answer: HTTPResponse) -> Mapping[str, Any]:
    """Return the JSON object of an answer; the time-out of the connection is that of each part."""
    deadline, body = time.monotonic() + TIMEOUT_SECONDS, bytearray()
    while part := answer.read1(LARGEST_ANSWER):
        body += part
        if len(body) > LARGEST_ANSWER:
            raise ValueError(f"its answer has more than {LARGEST_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"its answer took more than {TIMEOUT_SECONDS} s")
    shown = json.loads(body)
    if not isinstance(shown, dict):
        raise ValueError("its answer is not a JSON object")
    return shown


def _address(conf: cfg.ConfigOpts) -> tuple[str, str]:
    """Return the URL without its login, and the login; raise `ConfigurationError` if it is not a URL of HTTP."""
    try:
        parsed = urlsplit(conf.broker_management_url)
        place, _ = parsed.netloc.rpartition("@")[2], parsed.port
    except ValueError:  # its text may contain the password
        parsed, place = None, ""
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.hostname:
        raise errors.ConfigurationError(
            "[DEFAULT] broker_management_url is not a valid URL; expected https://USER:PASSWORD@HOST:15671, with "
            "special characters of the password as %XX"
        )
    login = f"{unquote(parsed.username or 'guest')}:{unquote(parsed.password or 'guest')}"
    return f"{parsed.scheme}://{place}{parsed.path.rstrip('/')}", login


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would get the password too."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _opener(conf: cfg.ConfigOpts) -> urllib.request.OpenerDirector:
    """Return a client that trusts the same CA as the connections to the broker, or the system's CAs without TLS."""
    tls = broker_connection.broker_tls(conf)
    context = tls.context() if tls else ssl.create_default_context()
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)
