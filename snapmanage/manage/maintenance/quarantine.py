"""Quarantined messages: list, show, retry and delete them."""

from collections.abc import Sequence

from snapmanage import crash, errors
from snapmanage.bus import Bus, Publication
from snapmanage.crash import Point
from snapmanage.store import quarantine
from snapmanage.store.engine.database import Database
from snapmanage.store.quarantine import QuarantinedMessage, QuarantineEntry


def entries(db: Database) -> list[QuarantineEntry]:
    """Return all messages without their bytes, oldest first."""
    with db.read() as conn:
        return quarantine.all_of(conn)


def get(db: Database, message_id: str) -> QuarantinedMessage:
    """Return a message; raise `NotFound` if the quarantine does not have it."""
    with db.read() as conn:
        found = quarantine.get(conn, message_id)
    if found is None:
        raise _unknown(message_id)
    return found


def drop(db: Database, message_id: str) -> None:
    """Delete a message; raise `NotFound` if the quarantine does not have it."""
    if not db.write(lambda conn, _: quarantine.drop(conn, message_id)):
        raise _unknown(message_id)


def messages_to_retry(db: Database, message_ids: Sequence[str]) -> list[QuarantinedMessage]:
    """Return messages; raise `NotFound` if one is unknown, and `InvalidRequest` if only a part of one was kept."""
    found = [get(db, message_id) for message_id in message_ids]
    for message in found:
        if not message.whole:
            raise errors.InvalidRequest(
                f"message {message.id} can't be sent again, since only its first {len(message.body)} bytes were kept"
            )
    return found


def retry(db: Database, bus: Bus, message: QuarantinedMessage) -> bool:
    """Send a message to its queue again, then delete it; return False if it was quarantined again meanwhile.

    Raise `Unavailable` if its queue is missing.

    The message is sent without its headers: no consumer reads them, and a broker's delivery counts are wrong for a
    new message. If the process dies between sending and deleting, a second retry sends the message twice, which its
    consumer recognizes.
    """
    if not bus.send([Publication(message.id, message.queue, message.body, queue_must_exist=True)]):
        raise errors.Unavailable(
            f"the broker has no queue {message.queue}, so message {message.id} stays in the quarantine; "
            "start the queue's consumer, which declares it, then retry"
        )
    crash.at(Point.SENT_AGAIN)
    return db.write(lambda conn, _: quarantine.drop_unless_back(conn, message))


def _unknown(message_id: str) -> errors.NotFound:
    return errors.NotFound(f"the quarantine has no message {message_id}; `quarantine list` shows its messages")
