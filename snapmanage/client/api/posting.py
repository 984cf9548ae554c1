"""Send the requests that manage, register and unmanage, and translate their answers into outcomes."""

from collections.abc import Mapping, Sequence
from typing import Any

from snapmanage.client.api.answers import CODE_FIELD, Answer, code_in, message_of
from snapmanage.client.api.features import ID_HEADER, KEY_HEADER, Features
from snapmanage.client.api.http import Api
from snapmanage.client.plan.entries import ENTRY_KEY, LABEL_KEY, Header, Manage, RegisterVolume, name_metadata
from snapmanage.client.plan.journal import Outcome, State
from snapmanage.client.selection.found import name_of

# Codes of refused requests for a service that sends none.
_CODES = {
    400: "invalid_request",
    401: "not_authenticated",
    403: "not_permitted",
    404: "not_found",
    409: "already_managed",
    413: "quota_exceeded",
    422: "key_reused",
}
# A batch with one of these answers was refused as a whole, and the service may know no batches.
_NO_BATCH = frozenset({400, 404, 405, 413})


class Poster:
    """Sends the entries of one plan. Each record gets the label of the plan and the key of its entry as metadata."""

    def __init__(self, api: Api, features: Features, header: Header) -> None:
        self._api = api
        self._features = features
        self._header = header

    def register(self, entry: RegisterVolume) -> Outcome:
        """Register a volume."""
        volume = {
            "host": entry.host,
            "ref": dict(entry.reference),
            "name": entry.name,
            "metadata": name_metadata(name_of(entry.reference)) | self._label(entry.key),
        }
        answer = self._send("/os-volume-manage", {"volume": volume}, self._keys(entry.key))
        return _outcome(entry.key, answer.status, answer.body, "volume", answer, answer.error_code)

    def manage(self, entries: Sequence[tuple[Manage, str]]) -> list[Outcome]:
        """Manage snapshots, each with the id of its volume, in one request if the service takes batches."""
        if len(entries) > 1 and self._features.takes_batches:
            bodies = [self._batch_entry(*each) for each in entries]
            answer = self._send("/os-snapshot-manage/batch", {"snapshots": bodies}, {})
            if answer.status not in _NO_BATCH:
                return _outcomes([entry for entry, _ in entries], answer)
        return [self._manage_one(*each) for each in entries]

    def unmanage(self, record_id: str) -> Answer:
        """Unmanage a snapshot; a repeat does no harm."""
        return self._api.send("POST", f"/snapshots/{record_id}/action", body={"os-unmanage": None})

    def retry(self, record_id: str) -> Answer:
        """Carry out the failed operation of a snapshot again."""
        return self._api.send("POST", f"/snapshots/{record_id}/action", body={"retry": None})

    def retry_volume(self, record_id: str) -> Answer:
        return self._api.send("POST", f"/volumes/{record_id}/action", body={"retry": None})

    def unmanage_volume(self, record_id: str) -> Answer:
        return self._api.send("POST", f"/volumes/{record_id}/action", body={"os-unmanage": None})

    def _manage_one(self, entry: Manage, volume_id: str) -> Outcome:
        headers = self._keys(entry.key)
        if entry.snapshot_id and self._features.takes_chosen_ids:
            headers[ID_HEADER] = entry.snapshot_id
        answer = self._send("/os-snapshot-manage", {"snapshot": self._body(entry, volume_id)}, headers)
        return _outcome(entry.key, answer.status, answer.body, "snapshot", answer, answer.error_code)

    def _batch_entry(self, entry: Manage, volume_id: str) -> dict[str, Any]:
        chosen = {"id": entry.snapshot_id} if entry.snapshot_id and self._features.takes_chosen_ids else {}
        return self._body(entry, volume_id) | chosen | {"idempotency_key": self._key(entry.key)}

    def _body(self, entry: Manage, volume_id: str) -> dict[str, Any]:
        body = {"volume_id": volume_id, "ref": dict(entry.reference), "name": entry.name}
        optional = {"description": entry.description} if entry.description else {}
        return body | optional | {"metadata": dict(entry.metadata) | self._label(entry.key)}

    def _label(self, key: str) -> dict[str, str]:
        return {LABEL_KEY: self._header.label, ENTRY_KEY: key}

    def _key(self, key: str) -> str:
        return f"{self._header.plan_id}/{key}"

    def _keys(self, key: str) -> dict[str, str]:
        return {KEY_HEADER: self._key(key)} if self._features.keeps_idempotency_keys else {}

    def _send(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """Send a POST; without idempotency keys it must not be repeated if its answer is lost."""
        return self._api.send(
            "POST", path, body=body, headers=headers, repeatable=self._features.keeps_idempotency_keys
        )


def _outcomes(entries: Sequence[Manage], answer: Answer) -> list[Outcome]:
    """Return the outcomes of a batch, which has an answer for each entry, or one for all."""
    answers = answer.body.get("snapshots")
    if not answer.is_success or not isinstance(answers, list) or len(answers) != len(entries):
        return [
            _outcome(entry.key, answer.status, answer.body, "snapshot", answer, answer.error_code) for entry in entries
        ]
    return [
        _outcome(entry.key, int(each.get("status", 500)), each, "snapshot", answer, code_in(each.get(CODE_FIELD)))
        for entry, each in zip(entries, answers, strict=True)
    ]


def _outcome(
    key: str, status: int, body: Mapping[str, Any], kind: str, answer: Answer, error_code: str | None
) -> Outcome:
    if status < 300 and isinstance(body.get(kind), Mapping):
        return Outcome(key, State.ACCEPTED, str(body[kind].get("id")))
    return Outcome(key, State.FAILED, None, code_of(status, error_code), message_of(body) or answer.message)


def code_of(status: int, error_code: str | None = None) -> str:
    """Return the code of a refused request: the one that the service sends, or one for the status."""
    return error_code or ("server_error" if status >= 500 else _CODES.get(status, "refused"))
