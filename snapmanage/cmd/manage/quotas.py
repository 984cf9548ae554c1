"""snapmanage-manage quota: what projects may manage."""

import argparse
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.quotas import UNLIMITED, ProjectQuota
from snapmanage.core.records import keepable
from snapmanage.store import quotas, records

LARGEST = 2**31 - 1
KINDS = ("snapshots", "gigabytes")


def add_commands(commands: Any) -> None:
    """Add `quota` and its actions to the parser."""
    actions = commands.add_parser("quota", help="what projects may manage").add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="print the limits of each project that has its own").set_defaults(run=_list)
    show = actions.add_parser("show", help="print what a project may manage, and what it does")
    show.set_defaults(run=_show)
    change = actions.add_parser("set", help="give a project limits of its own; they count at once")
    change.set_defaults(run=_set)
    unset = actions.add_parser("unset", help="let the configured limits hold for a project again")
    unset.set_defaults(run=_unset)
    for parser in (show, change, unset):
        parser.add_argument("project", help="the project's id")
    for kind in KINDS:
        change.add_argument(f"--{kind}", type=_limit, metavar="N", help=f"at most; {UNLIMITED} is no limit")


def _limit(text: str) -> int:
    digits = text.removeprefix("-")
    value = int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else LARGEST + 1
    if not UNLIMITED <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be from 0 to {LARGEST}, or {UNLIMITED} for no limit, not {text!r}")
    return value


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        for own in quotas.all_of(conn):
            print("  ".join([own.project_id, *(f"{kind} {_own(own, kind)}" for kind in KINDS)]))


def _show(conf: cfg.ConfigOpts) -> None:
    project = _project(conf)
    with parts.opened_database(conf) as db, db.read() as conn:
        own, used = quotas.get(conn, project), records.usage(conn, project)
    allowed = own.over(configuration.rules(conf).quota)
    for kind in KINDS:
        origin = " (default)" if getattr(own, kind) is None else ""
        print(f"{kind}  limit {_said(getattr(allowed, kind))}{origin}  in use {getattr(used, kind)}")


def _set(conf: cfg.ConfigOpts) -> None:
    given = {kind: limit for kind in KINDS if (limit := getattr(conf.command, kind)) is not None}
    if not given:
        raise errors.InvalidRequest("name a limit: --snapshots, --gigabytes or both")
    _put(conf, given)


def _unset(conf: cfg.ConfigOpts) -> None:
    _put(conf, dict.fromkeys(KINDS))


def _put(conf: cfg.ConfigOpts, limits: Mapping[str, int | None]) -> None:
    """Write limits down, leaving those that aren't named, and show what holds now."""
    project = _project(conf)
    with parts.opened_database(conf) as db:
        db.write(lambda conn, _: quotas.change(conn, project, limits))
    _show(conf)


def _project(conf: cfg.ConfigOpts) -> str:
    project: str = conf.command.project
    if not (0 < len(project) <= 255 and keepable(project)):
        raise errors.InvalidRequest("a project's id has 1 to 255 characters, of Unicode without NUL")
    return project


def _own(own: ProjectQuota, kind: str) -> str:
    limit = getattr(own, kind)
    return "default" if limit is None else _said(limit)


def _said(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else str(limit)
