"""The upstream API is reached by HTTPS, whose certificate is checked before the token is sent."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.cmd.wiring import upstream as wiring
from snapmanage.core.upstream import Report, RequestKind, Result, Verdict
from snapmanage.upstream.delivery import deliver
from tests.examples import NOW, SNAPSHOT_ID, new_id
from tests.integration.tls.conftest import Configure
from tests.services.network.certificates import Certificates
from tests.services.upstream import SmallUpstream, small_upstream


@pytest.fixture
def upstream(certificates: Certificates) -> Iterator[SmallUpstream]:
    """Run an upstream that requires a certificate of its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.authority.cert))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.right.cert, certificates.right.key)
    with small_upstream(context) as made:
        made.statuses[SNAPSHOT_ID] = "creating"
        yield made


def report(configured: Configure, upstream: SmallUpstream, host: str, **files: Path) -> Verdict:
    """Return the result of a report with the options for these files."""
    lines = "".join(f"{name} = {path}\n" for name, path in files.items())
    client = wiring.make_client(
        configured(f"[upstream]\nendpoint = https://{host}:{upstream.port}/v3\nauth_type = none\n{lines}")
    )
    assert client is not None
    owed = Report(new_id(), SNAPSHOT_ID, "project", RequestKind.MANAGE, "available", NOW, NOW)
    return deliver(owed, client)


def test_outcome_is_reported_if_both_certificates_are_right(
    configured: Configure, upstream: SmallUpstream, certificates: Certificates
) -> None:
    own = certificates.client
    verdict = report(
        configured, upstream, "localhost", cafile=certificates.authority.cert, certfile=own.cert, keyfile=own.key
    )

    assert verdict.result is Result.TAKEN


def test_wrong_certificate_gets_no_request(
    configured: Configure, upstream: SmallUpstream, certificates: Certificates
) -> None:
    own = {"certfile": certificates.client.cert, "keyfile": certificates.client.key}

    unknown = report(configured, upstream, "localhost", **own)
    misnamed = report(configured, upstream, "127.0.0.1", cafile=certificates.authority.cert, **own)

    assert (unknown.result, misnamed.result) == (Result.AWAY, Result.AWAY)
    assert "set [upstream] cafile to the file of the CA" in unknown.text
    assert "use a name of the server's certificate in [upstream] endpoint" in misnamed.text
    assert upstream.requests == []
