"""Idempotency keys: the texts that are valid, and the requests that repeat an earlier one."""

import json
from datetime import timedelta
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core import idempotency
from snapmanage.core.idempotency import IdempotencyKey, KeyUse
from tests.examples import NOW, PROJECT

DAY = timedelta(days=1)
BODY = {"snapshot": {"volume_id": "1", "ref": {"source-name": "daily"}}}
STORED = KeyUse("key", "request", "first", NOW)


def make_key(project: str = PROJECT, text: str = "k", operation: str = "manage", body: Any = BODY) -> IdempotencyKey:
    return IdempotencyKey.of(project, text, operation, body)


@pytest.mark.parametrize("text", ["k", " ", "~" * 255, '"8e03978e-40d5"', ",;/"])
def test_printable_ascii_is_a_valid_key(text: str) -> None:
    assert len(make_key(text=text).key_digest) == 64


@pytest.mark.parametrize("text", ["", "k" * 256, "k\n", "\tk", "\x7f", "k\u00e9", "\N{CAMERA}"])
def test_invalid_key_is_refused_with_the_header_and_the_remedy(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"Idempotency-Key must have 1 to 255 printable ASCII.*UUID"):
        make_key(text=text)


def test_order_and_spaces_of_a_body_do_not_change_the_digests() -> None:
    spaced = json.loads('{ "snapshot" : {"ref": {"source-name":"daily"},  "volume_id": "1"} }')

    assert make_key(body=spaced) == make_key()


@pytest.mark.parametrize("other", [{"operation": "another"}, {"body": {}}, {"body": {"snapshot": {"ref": "daily"}}}])
def test_another_operation_or_body_changes_the_digest_of_the_request_only(other: dict[str, Any]) -> None:
    assert make_key(**other).key_digest == make_key().key_digest
    assert make_key(**other).request_digest != make_key().request_digest


@pytest.mark.parametrize("other", [{"text": "K"}, {"project": "another"}])
def test_digest_of_a_key_depends_on_its_text_and_its_project(other: dict[str, Any]) -> None:
    assert make_key(**other).key_digest != make_key().key_digest


def test_chosen_id_belongs_to_the_request() -> None:
    chosen = [IdempotencyKey.of(PROJECT, "k", "manage", BODY, each) for each in (None, "1", "2")]

    assert chosen[0] == make_key()
    assert len({each.key_digest for each in chosen}) == 1
    assert len({each.request_digest for each in chosen}) == 3


def test_same_request_before_the_key_expires_is_a_repeat() -> None:
    assert idempotency.repeats(use_key_after(DAY - timedelta(microseconds=1)), STORED, DAY)


def test_expired_key_is_ignored() -> None:
    assert not idempotency.repeats(use_key_after(DAY), STORED, DAY)
    assert not idempotency.repeats(use_key_after(DAY, "another"), STORED, DAY)


def test_another_request_with_the_same_key_is_refused() -> None:
    with pytest.raises(errors.KeyReused, match="new key"):
        idempotency.repeats(use_key_after(timedelta(0), "another"), STORED, DAY)


def use_key_after(time: timedelta, request: str = "request") -> KeyUse:
    return KeyUse("key", request, "second", NOW + time)
