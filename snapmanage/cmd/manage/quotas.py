"""snapmanage-manage quota: list, show and change the quotas of projects."""

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Row
from snapmanage.cmd.process import arguments
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.quotas import KINDS, UNLIMITED
from snapmanage.manage import quotas as projects
from snapmanage.store import quotas


def add_commands(commands: Any) -> None:
    """Add `quota` and its actions to the parser."""
    actions = commands.add_parser("quota", help="list, show or change the quotas of projects").add_subparsers(
        dest="action", required=True
    )
    listing = actions.add_parser("list", help="print each project that has limits of its own")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="print the limits and the usage of a project")
    show.set_defaults(run=_show)
    change = actions.add_parser("set", help="set limits for a project, which take effect at once")
    change.set_defaults(run=_set)
    unset = actions.add_parser("unset", help="restore the default limits of the section [quota] for a project")
    unset.set_defaults(run=_unset)
    for parser in (show, change, unset):
        parser.add_argument("project", type=arguments.name, help="id of the project")
    for parser in (listing, show, change, unset):
        formats.add_option(parser)
    for kind in KINDS:
        name = kind.replace("_", " ")
        change.add_argument(
            f"--{kind.replace('_', '-')}",
            type=arguments.whole_number(0, arguments.LARGEST, unlimited=UNLIMITED),
            metavar="N",
            help=f"limit of {name}; {UNLIMITED} is no limit",
        )


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        found = quotas.all_of(conn)
    formats.rows(
        conf,
        ({"project_id": own.project_id} | {kind: getattr(own, kind) for kind in KINDS} for own in found),
        lambda row: [row["project_id"], *(f"{kind} {_limit_text(row[kind])}" for kind in KINDS)],
    )


def _show(conf: cfg.ConfigOpts) -> None:
    project = conf.command.project
    with parts.opened_database(conf) as db:
        own, used = projects.of_project(db, project)
    allowed = own.over(configuration.rules(conf).quota)
    shown = {
        kind: {
            "limit": getattr(allowed, kind),
            "is_default": getattr(own, kind) is None,
            "in_use": getattr(used, kind),
        }
        for kind in KINDS
    }
    formats.document(conf, {"project_id": project} | shown, (_line(kind, shown[kind]) for kind in KINDS))


def _line(kind: str, shown: Row) -> str:
    origin = " (default)" if shown["is_default"] else ""
    return f"{kind}  limit {_limit_text(shown['limit'])}{origin}  in use {shown['in_use']}"


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
    project = conf.command.project
    with parts.opened_database(conf) as db:
        projects.change(db, project, limits)
    _show(conf)


def _limit_text(limit: int | None) -> str:
    return "default" if limit is None else "unlimited" if limit == UNLIMITED else str(limit)
