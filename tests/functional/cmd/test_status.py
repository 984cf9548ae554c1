"""`snapmanage-status health` ends with 0 only if the process is ready, and prints the checks that fail."""

from pathlib import Path

from snapmanage.cmd.process.probes import Probes
from snapmanage.cmd.process.status_server import StatusServer
from snapmanage.core.readiness import Check
from tests.functional.cmd.programs import refusal, run


def ask(folder: Path, *arguments: str, listen: str = "") -> tuple[int, str, str]:
    file = folder / "snapmanage.conf"
    file.write_text(f"[health]\nlisten = {listen}\n" if listen else "")
    ended = run("snapmanage-status", "--config-file", file, "health", *arguments)
    return ended.returncode, ended.stdout, ended.stderr


def serving(*checks: Check) -> StatusServer:
    probes = Probes(300)
    probes.serve(list, lambda: checks)
    return StatusServer("127.0.0.1", 0, probes.pages())


def test_ready_process_has_exit_code_zero(tmp_path: Path) -> None:
    with serving(Check("database")) as server:
        assert ask(tmp_path, listen=server.address) == (0, "", "")
        assert ask(tmp_path, "--url", f"http://{server.address}/") == (0, "", "")


def test_failing_checks_are_printed_with_exit_code_one(tmp_path: Path) -> None:
    with serving(Check("database"), Check("broker", "away")) as server:
        assert ask(tmp_path, listen=server.address) == (1, "[-]broker failed: away\n", "")
        assert ask(tmp_path, "--probe", "livez", listen=server.address) == (0, "", "")


def test_process_that_does_not_answer_has_exit_code_one(tmp_path: Path) -> None:
    with serving() as server:
        address = server.address

    code, out, error = ask(tmp_path, listen=address)

    assert (code, out) == (1, "")
    assert error.startswith(f"error: http://{address}/readyz does not answer")


def test_process_on_all_addresses_is_asked_on_this_machine(tmp_path: Path) -> None:
    with serving() as server:
        port = server.address.partition(":")[2]
        assert ask(tmp_path, listen=f"0.0.0.0:{port}") == (0, "", "")


def test_missing_address_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "snapmanage.conf"
    file.write_text("")

    assert "[health] listen is not set" in refusal(run("snapmanage-status", "--config-file", file, "health"))
