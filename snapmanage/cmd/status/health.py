"""snapmanage-status health: ask a process on this machine whether it is ready, for the health check of a container."""

import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.process import output
from snapmanage.cmd.process.probes import LIVE, READY
from snapmanage.core.values.listen import join_listen, parse_listen

SECONDS = 10
# Bytes; a check has one short line.
LARGEST_ANSWER = 1 << 20
FAILED = 1
# Addresses of all interfaces, and the one at which a program on the same machine reaches them.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def add_commands(commands: Any) -> None:
    """Add `health` to the parser."""
    parser = commands.add_parser(
        "health",
        help=f"ask a process for its probe and print the checks that fail; exit code 0 if there are none, {FAILED} if "
        f"there are, or if the process does not answer within {SECONDS} s",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="address of the probes, such as http://127.0.0.1:8790 (default: that of [health] listen)",
    )
    parser.add_argument("--probe", choices=(READY, LIVE), default=READY, help="probe to ask for (default: %(default)s)")
    parser.set_defaults(run=_health)


def _health(conf: cfg.ConfigOpts) -> int:
    address = f"{(conf.command.url or _configured(conf)).rstrip('/')}/{conf.command.probe}"
    try:
        status, text = _ask(address)
    except (OSError, ValueError, HTTPException) as error:
        output.error(f"{address} does not answer: {error}; check that the process runs, and its [health] listen")
        return FAILED
    if status == 200:
        return 0
    failing = [line for line in text.splitlines() if line.startswith("[-]")]
    output.lines(failing or [f"{address} answers with status {status}"])
    return FAILED


def _configured(conf: cfg.ConfigOpts) -> str:
    if not conf.health.listen:
        raise errors.ConfigurationError("[health] listen is not set; set it, or give --url the address of the probes")
    host, port = parse_listen(conf.health.listen, "[health] listen")
    return f"http://{join_listen(EVERYWHERE.get(host, host), port)}"


def _ask(address: str) -> tuple[int, str]:
    """Return the status and the text of a probe; proxies of the environment are not used."""
    if not address.startswith(("http://", "https://")):
        raise ValueError("the address must begin with http://")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=SECONDS) as answer:
            return answer.status, answer.read(LARGEST_ANSWER).decode(errors="replace")
    except HTTPError as error:
        with error:
            return error.code, error.read(LARGEST_ANSWER).decode(errors="replace")
