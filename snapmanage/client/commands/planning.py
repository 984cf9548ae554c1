"""`snapmanage plan`: write down what would be managed, and under which names, before anything happens."""

import argparse
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from snapmanage import errors
from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.api.records import KnownVolumes
from snapmanage.client.commands import selectors
from snapmanage.client.commands.base import ApiCommand, add_hosts, hosts
from snapmanage.client.plan import rows, templates
from snapmanage.client.plan.entries import FROM_FILE, Entry, Header
from snapmanage.client.plan.file import write_line
from snapmanage.client.plan.tally import Tally
from snapmanage.client.selection.criteria import Criteria
from snapmanage.client.work.planning import DEFAULT_NAME, Planner, Rules
from snapmanage.client.work.selecting import Scans, scan
from snapmanage.core.values.text import cut
from snapmanage.files import new_file

NOTHING_TO_DO, SOMETHING_TO_DO = 0, 2


class Plan(ApiCommand):
    """write a plan: which snapshots to manage, under which names, and why the others are skipped"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_hosts(parser)
        parser.add_argument(
            "--out", default="plan.jsonl", metavar="FILE", help="new file, or - for the output (default: %(default)s)"
        )
        parser.add_argument(
            "--from",
            dest="rows",
            type=Path,
            metavar="FILE",
            help="only the snapshots in the column source of this .csv, .yaml or .jsonl file; its columns host, name, "
            "description and metadata.KEY are optional",
        )
        parser.add_argument(
            "--detailed-exitcode", action="store_true", help="exit with 0: nothing to do, 1: error, 2: something to do"
        )
        _add_wishes(parser)
        selectors.add_arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        criteria = selectors.criteria(parsed_args)
        api, features = self.connect_and_discover()
        rules = _rules(parsed_args, features)
        with scan(api, hosts(api, parsed_args)) as scans, _output(parsed_args.out, self.app.stdout) as file:
            header = self._header(parsed_args, api, scans, criteria)
            planner = Planner(rules, KnownVolumes(api, features, header.hosts).find)
            tally = _write(file, header, planner.entries(scans.selected(criteria)))
            note = scans.note(criteria)
        if note:
            self.app.stderr.write(f"warning: {note}\n")
        self.app.stderr.write(f"{parsed_args.out}: {tally.headline}\n")
        return SOMETHING_TO_DO if parsed_args.detailed_exitcode and tally.snapshots else NOTHING_TO_DO

    def _header(self, options: argparse.Namespace, api: Api, scans: Scans, criteria: Criteria) -> Header:
        return Header(
            plan_id=str(uuid.uuid4()),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            endpoint=api.endpoint,
            project=api.project,
            hosts=tuple(scans.digests),
            selector=criteria.as_json() | ({FROM_FILE: str(options.rows)} if options.rows else {}),
            scans={host: digest.as_json() for host, digest in scans.digests.items()},
            templates={"name": options.name_template, "metadata": dict(options.metadata)},
            cloud=getattr(self.app_args, "os_cloud", None),
        )


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include-unsafe", action="store_true", help="also snapshots that are in use or unusable")
    parser.add_argument("--safe-only", action="store_false", dest="include_unsafe", help="skip them (default)")
    parser.add_argument(
        "--force", action="store_true", help="also snapshots whose program needs their names; requires an administrator"
    )
    parser.add_argument(
        "--name-template",
        default=DEFAULT_NAME,
        metavar="TEXT",
        help="names of the records (default: %(default)s); the fields are name, source, volume, host, origin, class, "
        "description, date and time",
    )
    parser.add_argument(
        "--metadata",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=TEXT",
        help="metadata of the records, with the fields of --name-template; may be repeated",
    )
    parser.add_argument(
        "--backend-name-template",
        default="snapshot-%s",
        metavar="TEXT",
        help="snapshot_name_template of the backends, for the new names in the plan (default: %(default)s)",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{cut(repr(text))} must be KEY=TEXT")
    return key, value


def _rules(options: argparse.Namespace, features: Features) -> Rules:
    """Return the rules of the options; raise `InvalidRequest` for a template with an unknown field."""
    templates.check("--name-template", options.name_template)
    for _, template in options.metadata:
        templates.check("--metadata", template)
    if options.backend_name_template.count("%s") != 1:
        raise errors.InvalidRequest("--backend-name-template must have %s once, for the id of the record")
    return Rules(
        name=options.name_template,
        metadata=dict(options.metadata),
        includes_unsafe=options.include_unsafe,
        forces=options.force,
        takes_chosen_ids=features.takes_chosen_ids,
        backend_name=options.backend_name_template,
        rows=rows.read(options.rows) if options.rows else None,
    )


@contextmanager
def _output(path: str, output: IO[str]) -> Iterator[IO[str]]:
    if path == "-":
        yield output
        return
    with new_file(Path(path)) as file:
        yield file


def _write(file: IO[str], header: Header, entries: Iterable[Entry]) -> Tally:
    tally = Tally()
    write_line(file, header.as_json())
    for entry in entries:
        write_line(file, entry.as_json())
        tally.add(entry)
    return tally
