"""A message with very many lists and objects is refused before it is parsed; brackets in texts are harmless."""

from contextlib import nullcontext

import pytest

from snapmanage import errors
from snapmanage.bus import envelope


@pytest.mark.parametrize("escaped", [False, True], ids=["as it is", "escaped in the envelope"])
@pytest.mark.parametrize("beyond", [0, 1])
def test_envelope_has_at_most_50_000_brackets(beyond: int, escaped: bool) -> None:
    own = 2  # of the content
    lists = b"[]," * (envelope.MOST_BRACKETS - own + beyond)
    written = lists.replace(b"[", b"\\u005b") if escaped else lists
    body = rb'{"oslo.version": "2.0", "oslo.message": "{\"a\": [' + written + rb'0]}"}'

    with pytest.raises(errors.InvalidRequest, match="50000 brackets") if beyond else nullcontext():
        envelope.unwrap(body)


@pytest.mark.parametrize("content", ["[{", '\\"[', '"[{', "\\[", '\\\\"[{'])
def test_brackets_in_texts_do_not_count(content: str) -> None:
    arguments = {"metadata": {"key": content * envelope.MOST_BRACKETS}}

    assert envelope.open_request(envelope.request("m", arguments, {}, "id")).message["args"] == arguments


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_brackets_behind_an_escaped_quote_count_in_every_encoding(encoding: str) -> None:
    body = '{"oslo.version": "2.0", "oslo.message": "{}", "\\"": [' + "[]," * envelope.MOST_BRACKETS + "0]}"

    with pytest.raises(errors.InvalidRequest, match="50000 brackets"):
        envelope.unwrap(body.encode(encoding))
