"""The measurement of HTTP servers, `python -m benchmarks.front`: its arguments."""

import pytest

from benchmarks.front.__main__ import main


def test_unknown_server_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])

    assert "'nonsense' is no server; choose from snapmanage, waitress, granian, cheroot" in capsys.readouterr().err


def test_server_that_does_not_start_is_reported_with_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.chdir("/")

    with pytest.raises(SystemExit, match=r"waitress did not start:\n.*No module named 'benchmarks'"):
        main(["waitress"])
