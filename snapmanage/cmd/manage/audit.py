"""snapmanage-manage audit: list, verify and export the audit log."""

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.audit import export, verification
from snapmanage.cmd.manage import checkpoints, formats
from snapmanage.cmd.manage.formats import Row
from snapmanage.cmd.process import arguments, output
from snapmanage.cmd.wiring import parts
from snapmanage.core.audit.chain import Entry, Head
from snapmanage.core.audit.completeness import Kind
from snapmanage.core.values.text import cut
from snapmanage.files import new_file

# The exit code of a verification is that of its worst finding.
BROKEN, INCOMPLETE, FORGED = 1, 2, 3
EXIT_CODES = {Kind.BROKEN: BROKEN, Kind.FORGED: FORGED, Kind.INCOMPLETE: INCOMPLETE, Kind.NOTE: 0}

_DESCRIPTION = f"""Check the audit log against itself and against the records.

BROKEN      a row was changed, removed or inserted, or the head is missing: exit code {BROKEN}
FORGED      an event was never announced, or contradicts the record or another event: exit code {FORGED}
INCOMPLETE  an event that was announced is missing: exit code {INCOMPLETE}
NOTE        rows were purged, or an event is not yet recorded: exit code 0

The exit code is that of the first kind in this list that was found.
"""


def add_commands(commands: Any) -> None:
    """Add `audit` and its actions to the parser."""
    actions = commands.add_parser("audit", help="list, verify, export or purge the audit log").add_subparsers(
        dest="action", required=True
    )
    newest = actions.add_parser("list", help="print the newest events; with -f json, whole")
    formats.add_option(newest)
    newest.add_argument(
        "--limit",
        type=arguments.whole_number(1, arguments.LARGEST),
        default=100,
        help="print at most this many events (default: %(default)s)",
    )
    newest.add_argument("--snapshot", type=arguments.name, help="print only the events of the snapshot with this id")
    newest.set_defaults(run=_list)
    head = actions.add_parser("head", help="print the end of the chain as NUMBER:DIGEST, to be kept elsewhere")
    head.set_defaults(run=_head)
    verify = actions.add_parser(
        "verify",
        help="check that the chain is unbroken, that no event is missing and that none is forged",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument(
        "--since", metavar="NUMBER:DIGEST", help="require that row NUMBER has this digest, and read only later rows"
    )
    verify.add_argument(
        "--in-flight-seconds",
        type=arguments.seconds,
        default=300,
        help="a missing event of a record that changed within this time is not yet recorded; a longer time hides rows "
        "that were cut off lately, a shorter one reports events that are on their way (default: %(default)s)",
    )
    checkpoints.add_checkpoint_arguments(verify, required=False)
    formats.add_option(verify)
    verify.set_defaults(run=_verify)
    _add_export(actions)
    checkpoints.add_commands(actions)


def _add_export(actions: Any) -> None:
    parser = actions.add_parser(
        "export",
        help="print the rows with their digests, each as a JSON object on one line; "
        f"exit code {BROKEN} if their chain is broken",
    )
    parser.add_argument(
        "--format",
        choices=sorted(export.FORMATS),
        default="ndjson",
        help="ndjson: the rows themselves; cadf: events of CADF 1.0 with their rows attached (default: %(default)s)",
    )
    parser.add_argument(
        "--since", metavar="NUMBER[:DIGEST]", help="export only the rows after row NUMBER, which must have this digest"
    )
    parser.add_argument(
        "--until",
        metavar="NUMBER",
        type=arguments.whole_number(0, arguments.MOST_ROWS),
        help="export only the rows up to this one",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="write to a new file instead of printing")
    parser.set_defaults(run=_export)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        trail = verification.trail(db, conf.command.limit, conf.command.snapshot)
        formats.lines(conf, map(_listed, trail), _line)


def _listed(entry: Entry) -> dict[str, Any]:
    """Return an entry for `list`; any client that may publish chooses the fields of the payload."""
    own = {"number": entry.number, "event_type": entry.event_type}
    return own | entry.readable_payload | own


def _line(row: Row) -> str:
    """Return the line of an event; any client that may publish chooses how long its fields are."""
    reason = row.get("reason")
    cells = [row.get(name) for name in ("number", "occurred_at", "snapshot_id", "event_type", "status")]
    if isinstance(reason, dict):
        cells += [reason.get("code"), reason.get("text")]
    return "  ".join(cut(str(cell)) for cell in cells)


def _head(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        output.line(str(verification.head(db)))


def _verify(conf: cfg.ConfigOpts) -> int:
    given = conf.command
    if bool(given.checkpoint) != bool(given.public_key) or (given.since and given.checkpoint):
        raise errors.InvalidRequest("give --checkpoint together with --public-key, and without --since")
    since = Head.parse(given.since) if given.since else None
    checkpoint = checkpoints.given_checkpoint(conf) if given.checkpoint else None
    found: set[Kind] = set()
    with parts.opened_database(conf) as db, verification.opened(db) as log, formats.report(conf) as report:
        for finding in log.findings(since, timedelta(seconds=given.in_flight_seconds), checkpoint):
            found.add(finding.kind)
            report.add(f"{finding.kind.value}: {finding.text}", kind=finding.kind, text=finding.text)
        if log.state:
            rows = log.state.head.number - log.state.base.number
            report.add(f"{rows} rows, head {log.state.head}", kind="HEAD", rows=rows, head=str(log.state.head))
    return next((code for kind, code in EXIT_CODES.items() if kind in found), 0)


def _export(conf: cfg.ConfigOpts) -> int:
    given = conf.command
    with parts.opened_database(conf) as db:
        exported = export.Export(db, export.FORMATS[given.format], given.since, given.until)
        if given.output is None:
            output.lines(exported.lines())
        else:
            with new_file(given.output) as file:
                file.writelines(f"{line}\n" for line in exported.lines())
    if exported.broken:
        output.note(f"{Kind.BROKEN.value}: {exported.broken}")
    return BROKEN if exported.broken else 0
