"""snapmanage-manage quarantine: what came over the bus and was put aside."""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from oslo_config import cfg

from snapmanage import crash, errors
from snapmanage.bus import Bus, Publication
from snapmanage.cmd.wiring import parts
from snapmanage.crash import Point
from snapmanage.store import quarantine
from snapmanage.store.engine.database import Database
from snapmanage.store.quarantine import QuarantinedMessage


def add_commands(actions: Any) -> None:
    """The command's actions, for its parser."""
    actions.add_parser("list", help="print each message with the reason, oldest first")
    known = {
        "show": actions.add_parser("show", help="print a message with its headers, as JSON"),
        "retry": actions.add_parser(
            "retry", help="send messages to their queues again; those that arrive are forgotten, unless they come back"
        ),
        "drop": actions.add_parser("drop", help="forget messages"),
    }
    known["show"].add_argument("id", help="the message's id, as list prints it")
    for action in ("retry", "drop"):
        known[action].add_argument("ids", metavar="id", nargs="+", help="a message's id, as list prints it")


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        for kept in quarantine.all_of(conn):
            arrived = kept.received_at.isoformat(timespec="seconds")
            print(f"{kept.id}  {arrived}  {kept.queue}  {kept.size_bytes} bytes  {kept.reason}")


def _show(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        kept = _get(db, conf.command.id)
    shown = dict(vars(kept)) | {
        "body": kept.body.decode(errors="backslashreplace"),
        "received_at": kept.received_at.isoformat(),
        "whole": kept.whole,
    }
    print(json.dumps(shown, indent=2))


def _retry(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, closing(parts.connect_bus(conf)[0]) as bus:
        for kept in [_whole(_get(db, message_id)) for message_id in conf.command.ids]:
            forgotten = send_again(db, bus, kept)
            print(f"{kept.id} was sent to {kept.queue} again{'.' if forgotten else ', and has come back.'}")


def send_again(db: Database, bus: Bus, kept: QuarantinedMessage) -> bool:
    """Send a message, then forget it; False when it was put aside again by then, and stays.

    Without its headers: nobody here reads them, and what brokers count there isn't true of a new message. A process
    that dies in between has sent a message, and keeps it: its consumer knows repeats.
    """
    if not bus.send([Publication(kept.id, kept.queue, kept.body, queue_must_exist=True)]):
        raise errors.Unavailable(f"the broker has no queue {kept.queue}: {kept.id} stays in the quarantine")
    crash.at(Point.SENT_AGAIN)
    return db.write(lambda conn, _: quarantine.drop_unless_back(conn, kept))


def _drop(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        for message_id in conf.command.ids:
            if not _forget(db, message_id):
                raise _unknown(message_id)
            print(f"{message_id} is forgotten.")


def _get(db: Database, message_id: str) -> QuarantinedMessage:
    with db.read() as conn:
        kept = quarantine.get(conn, message_id)
    if kept is None:
        raise _unknown(message_id)
    return kept


def _whole(kept: QuarantinedMessage) -> QuarantinedMessage:
    if not kept.whole:
        raise errors.InvalidRequest(f"{kept.id} can't be sent again: only its first {len(kept.body)} bytes were kept")
    return kept


def _forget(db: Database, message_id: str) -> bool:
    return db.write(lambda conn, _: quarantine.drop(conn, message_id))


def _unknown(message_id: str) -> errors.NotFound:
    return errors.NotFound(f"the quarantine has no message {message_id}; `quarantine list` names those that it has")


COMMANDS: Mapping[tuple[str, str], Callable[[cfg.ConfigOpts], int | None]] = {
    ("quarantine", "list"): _list,
    ("quarantine", "show"): _show,
    ("quarantine", "retry"): _retry,
    ("quarantine", "drop"): _drop,
}
