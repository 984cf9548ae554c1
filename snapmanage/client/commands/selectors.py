"""The options of the selectors."""

import argparse
from datetime import UTC, datetime

from snapmanage import errors
from snapmanage.client.selection import durations
from snapmanage.client.selection.criteria import Criteria, regular_expression
from snapmanage.client.selection.retention import Retention, parse_keep
from snapmanage.core.lists.selectors import check_glob
from snapmanage.core.values.text import cut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the selectors to a command; selectors that are lists may be repeated."""
    group = parser.add_argument_group("selectors", "choose snapshots; a snapshot is chosen if it passes all of them")
    _add_names(group)
    _add_times(group)
    group.add_argument("--min-size", type=_count, metavar="GIB", help="at least this many GiB")
    group.add_argument("--max-size", type=_count, metavar="GIB", help="at most this many GiB")
    group.add_argument("--origin", action="append", default=[], help="made by this program, such as sanoid")
    group.add_argument("--class", action="append", default=[], dest="origin_class", help="of this class, such as daily")
    group.add_argument("--orphans", action="store_true", help="only snapshots without a volume")
    group.add_argument("--latest", type=_count, metavar="N", help="the newest N of each volume")
    group.add_argument(
        "--keep",
        metavar="PERIOD=N,…",
        help="of each volume the newest one of each of the last N periods: hourly, daily, weekly, monthly or yearly",
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{cut(repr(text))} must be a number from 0 to 999999999")
    return int(text)


def _add_names(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", action="append", default=[], metavar="GLOB", help="with such a name, or own name")
    group.add_argument("--name-regex", metavar="REGEX", help="with a name in which the regular expression is found")
    group.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="without such names")
    group.add_argument(
        "--source-volume",
        "--volume",
        action="append",
        default=[],
        metavar="GLOB",
        help="of such volumes on the backend",
    )


def _add_times(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--older-than", metavar="AGE", help="older than an age such as 30d, 12h or 2w")
    group.add_argument("--newer-than", metavar="AGE", help="younger than this age")
    group.add_argument("--created-before", metavar="TIME", help="created before a time such as 2026-01-31")
    group.add_argument("--created-after", metavar="TIME", help="created after this time")


def criteria(options: argparse.Namespace) -> Criteria:
    """Return the selectors of a command line; raise `InvalidRequest` for one that has no meaning."""
    now = datetime.now(UTC)
    if options.name_regex is not None:
        regular_expression(options.name_regex)
    for option, globs in (
        ("--name", options.name),
        ("--exclude", options.exclude),
        ("--source-volume", options.source_volume),
    ):
        for glob in globs:
            check_glob(option, glob)
    return Criteria(
        names=tuple(options.name),
        name_regex=options.name_regex,
        excluded=tuple(options.exclude),
        volumes=tuple(options.source_volume),
        before=_time(options, "older_than", "created_before", now),
        after=_time(options, "newer_than", "created_after", now),
        min_size=options.min_size,
        max_size=options.max_size,
        origins=tuple(options.origin),
        classes=tuple(options.origin_class),
        orphans=options.orphans,
        retention=Retention(options.latest, parse_keep(options.keep) if options.keep else {}),
    )


def _time(options: argparse.Namespace, age: str, moment: str, now: datetime) -> datetime | None:
    ages, times = getattr(options, age), getattr(options, moment)
    names = [f"--{each.replace('_', '-')}" for each in (age, moment)]
    if ages and times:
        raise errors.InvalidRequest(f"{names[0]} and {names[1]} can't be given together; omit one of them")
    if ages:
        return durations.before(names[0], ages, now)
    return durations.moment(names[1], times) if times else None
