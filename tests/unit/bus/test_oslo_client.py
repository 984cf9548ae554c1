"""The RPC client chooses a broker that can be reached."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.cmd.wiring import parts
from snapmanage.testing.services.process import free_port
from tests.unit.cmd.test_broker_tls import configured


def test_call_fails_at_once_while_no_broker_can_be_reached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"rabbit://u:s3cret@127.0.0.1:{free_port()},u:s3cret@127.0.0.1:{free_port()}/"
    caller = parts.LazyCaller(configured(tmp_path, "", url), Names())

    with pytest.raises(errors.Unavailable, match="host@backend can't be called, since the broker can't be reached"):
        caller("host@backend", "get_manageable_snapshots", {}, {})

    assert "Connection refused" in caplog.text
    assert "s3cret" not in caplog.text
