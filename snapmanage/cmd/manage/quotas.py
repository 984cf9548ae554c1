"""snapmanage-manage quota: list, show and change the quotas of projects."""

import argparse
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.process import output
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.quotas import KINDS, UNLIMITED
from snapmanage.core.values.text import storable
from snapmanage.store import quotas

LARGEST = 2**31 - 1


def add_commands(commands: Any) -> None:
    """Add `quota` and its actions to the parser."""
    actions = commands.add_parser("quota", help="list, show or change the quotas of projects").add_subparsers(
        dest="action", required=True
    )
    actions.add_parser("list", help="print each project that has limits of its own").set_defaults(run=_list)
    show = actions.add_parser("show", help="print the limits and the usage of a project")
    show.set_defaults(run=_show)
    change = actions.add_parser("set", help="set limits for a project, which take effect at once")
    change.set_defaults(run=_set)
    unset = actions.add_parser("unset", help="restore the default limits of the section [quota] for a project")
    unset.set_defaults(run=_unset)
    for parser in (show, change, unset):
        parser.add_argument("project", help="id of the project")
    for kind in KINDS:
        name = kind.replace("_", " ")
        change.add_argument(
            f"--{kind.replace('_', '-')}", type=_limit, metavar="N", help=f"limit of {name}; {UNLIMITED} is no limit"
        )


def _limit(text: str) -> int:
    digits = text.removeprefix("-")
    value = int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else LARGEST + 1
    if not UNLIMITED <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be from 0 to {LARGEST}, or {UNLIMITED} for no limit, not {text!r}")
    return value


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        found = quotas.all_of(conn)
    output.table([own.project_id, *(f"{kind} {_limit_text(getattr(own, kind))}" for kind in KINDS)] for own in found)


def _show(conf: cfg.ConfigOpts) -> None:
    project = _project(conf)
    with parts.opened_database(conf) as db, db.read() as conn:
        own, used = quotas.get(conn, project), quotas.usage(conn, project)
    allowed = own.over(configuration.rules(conf).quota)
    for kind in KINDS:
        origin = " (default)" if getattr(own, kind) is None else ""
        output.line(f"{kind}  limit {_limit_text(getattr(allowed, kind))}{origin}  in use {getattr(used, kind)}")


def _set(conf: cfg.ConfigOpts) -> None:
    given = {kind: limit for kind in KINDS if (limit := getattr(conf.command, kind)) is not None}
    if not given:
        raise errors.InvalidRequest(
            "quota set requires a limit: --snapshots, --gigabytes, --volumes or --failed-records"
        )
    _put(conf, given)


def _unset(conf: cfg.ConfigOpts) -> None:
    _put(conf, dict.fromkeys(KINDS))


def _put(conf: cfg.ConfigOpts, limits: Mapping[str, int | None]) -> None:
    """Write the limits in `limits`, leave the other kinds as they are, and show the result."""
    project = _project(conf)
    with parts.opened_database(conf) as db:
        db.write(lambda conn, _: quotas.change(conn, project, limits))
    _show(conf)


def _project(conf: cfg.ConfigOpts) -> str:
    project: str = conf.command.project
    if not (0 < len(project) <= 255 and storable(project)):
        raise errors.InvalidRequest("argument project must have 1 to 255 characters of valid Unicode without NUL")
    return project


def _limit_text(limit: int | None) -> str:
    return "default" if limit is None else "unlimited" if limit == UNLIMITED else str(limit)
