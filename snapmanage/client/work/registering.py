"""Register the volumes of a plan, and wait until their snapshots can be managed."""

from collections.abc import Collection, Iterable, Mapping

from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.api.posting import Poster
from snapmanage.client.api.records import KnownVolumes
from snapmanage.client.plan.entries import RegisterVolume
from snapmanage.client.plan.journal import Journal, Outcome, State
from snapmanage.client.selection.found import name_of
from snapmanage.client.work.labelled import GONE, LabelledRecords
from snapmanage.client.work.parallel import in_parallel
from snapmanage.client.work.verdicts import STARTING
from snapmanage.client.work.waiting import Deadline


class Registrar:
    """Registers volumes. A repeat finds the records of the first run by their label."""

    def __init__(
        self,
        api: Api,
        features: Features,
        poster: Poster,
        records: LabelledRecords,
        journal: Journal,
        deadline: Deadline,
    ) -> None:
        self._api = api
        self._journal = journal
        self._features = features
        self._poster = poster
        self._records = records
        self._deadline = deadline

    def ids(self, volumes: Collection[RegisterVolume], parallel: int, retries: bool = False) -> dict[str, Outcome]:
        """Return the outcome of each volume by its key: DONE with its id, FAILED, or UNDONE if it is unmanaged again.

        With `retries`, volumes whose registration failed are registered again.
        """
        if not volumes:
            return {}
        seen = self._records.outcomes("volumes")
        missing = [volume for volume in volumes if volume.key not in seen]
        if retries:
            self._retry([seen[volume.key] for volume in volumes if volume.key in seen], parallel)
        sent = {outcome.key: outcome for outcome in in_parallel(parallel, self._send, missing)}
        awaited = self._awaited()
        return self._owned_by_others(volumes, sent) | awaited | self._unmanaged(sent.keys() - awaited, sent)

    def _send(self, volume: RegisterVolume) -> Outcome:
        self._deadline.check()
        durable = not self._features.keeps_idempotency_keys
        self._journal.write([Outcome(volume.key, State.SENDING)], durable)
        outcome = self._poster.register(volume)
        self._journal.write([outcome])
        return outcome

    def _retry(self, seen: Iterable[Outcome], parallel: int) -> None:
        """Retry the failed ones; one whose retry is refused stays failed."""
        failed = [outcome.record_id for outcome in seen if outcome.state is State.FAILED and outcome.record_id]
        for _ in in_parallel(parallel, self._poster.retry_volume, failed):
            self._deadline.check()

    def _awaited(self) -> dict[str, Outcome]:
        """Return the outcomes of the labelled volumes, once none of them is in progress."""
        for _ in self._deadline.rounds():
            if not any(self._records.count(status, "volumes") for status in STARTING):
                break
        return self._records.outcomes("volumes")

    def _unmanaged(self, keys: Iterable[str], sent: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Return the accepted volumes that are gone: the service repeats the answer to the first run of the plan."""
        accepted = {key: sent[key].record_id for key in keys if sent[key].state is State.ACCEPTED}
        return {
            key: Outcome(key, State.UNDONE, volume_id)
            for key, volume_id in accepted.items()
            if volume_id and self._records.status(volume_id, "volumes") == GONE
        }

    def _owned_by_others(self, volumes: Collection[RegisterVolume], sent: dict[str, Outcome]) -> dict[str, Outcome]:
        """Return the outcomes of the refused volumes; one that was registered since the plan was made is usable."""
        refused = [volume for volume in volumes if volume.key in sent and sent[volume.key].state is State.FAILED]
        if not refused:
            return {}
        known = KnownVolumes(self._api, self._features, {volume.host for volume in refused})
        found = {volume.key: known.find(volume.host, name_of(volume.reference)) for volume in refused}
        return {
            key: Outcome(key, State.DONE, volume_id) if volume_id else sent[key] for key, volume_id in found.items()
        }
