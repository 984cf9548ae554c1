"""The comparison with Cinder, `make bench-peer`: its refusals and its table."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peer import table
from benchmarks.peer.__main__ import main
from snapmanage.testing import needs

MACHINE = {"cores": 2, "cpu": "CPU", "memory_gb": 24, "kernel": "6.1", "python": "3.11"}


def line(name: str, per_second: float, cpu_ms: Any) -> dict[str, Any]:
    figures = {"per_second": per_second, "cpu_ms": cpu_ms}
    return {"benchmark": name, "cinder": "29.0.0", "figures": figures, "load": 1.5, "machine": MACHINE}


LINES = [
    line("cinder", 10, {"cinder": 60.0, "mariadb": 9.0}),
    line("one server", 900, {"volume": 0.4}),
    line("two servers", 1500, {"volume": 0.5}),
    line("empty server", 4000, 0.2),
    line("cinder", 12, {"cinder": 60.0, "mariadb": 9.0}),
    line("one server", 1300, {"volume": 0.4}),
    line("two servers", 1500, {"volume": 0.5}),
    line("empty server", 4000, 0.2),
]


def test_table_compares_the_medians_of_all_rounds_with_cinder_and_with_the_empty_server() -> None:
    shown = table.render(LINES).splitlines()

    cinder = (
        "| Cinder 29.0.0, cinder-volume | 10.0, 12.0 | 11.0 | 1.0 | 0.003 | 60.00 cinder + 9.00 mariadb | 69.00 | 1.0 |"
    )
    assert cinder in shown
    assert (
        "| snapmanage, one server process | 900.0, 1,300.0 | 1,100.0 | 100.0 | 0.275 | 0.40 volume | 0.40 | 172.5 |"
        in shown
    )


def test_table_counts_the_snapshots_that_cinder_left_behind() -> None:
    left = LINES[0] | {"figures": LINES[0]["figures"] | {"left_creating": 2}}

    assert "| Cinder 29.0.0, cinder-volume (2 left in `creating`) |" in table.render([left, *LINES[1:]])


def test_missing_interpreter_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"there is no interpreter .*: `make bench-peer` makes an environment"):
        main(["--python", str(tmp_path / "bin" / "python")])


def test_interpreter_without_cinder_is_refused_with_its_errors(tmp_path: Path) -> None:
    empty = tmp_path / "python"
    empty.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    empty.chmod(0o755)

    with pytest.raises(SystemExit, match=r"has no usable Cinder: (?s:.*)No module named 'cinder'"):
        main(["--python", str(empty)])


def test_missing_broker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "SYSTEM_PATH", "/nowhere")

    with pytest.raises(SystemExit, match=r"this machine lacks .*epmd, .*mariadbd: install the packages of bindep.txt"):
        main(["--python", sys.executable])
