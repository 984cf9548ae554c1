"""The log of a process: records of libraries, warnings, and exceptions that end the process or a thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = "a\n2026-01-01 ERROR forged\r\x1b[2J\x9b\u202e\u2028"
ESCAPED = r"a\n2026-01-01 ERROR forged\r\x1b[2J\x9b\u202e\u2028"

PROGRAM = f"""
import logging, sys, threading, warnings
from snapmanage.cmd.wiring import configuration

HOSTILE = {HOSTILE!r}
configuration.load(sys.argv[1:], "program", [])


def fail():
    raise ValueError(HOSTILE)


class Ignored:
    def __del__(self):
        fail()


logging.getLogger("library").warning("library %s", HOSTILE)
warnings.warn("warning " + HOSTILE)
thread = threading.Thread(target=fail, name="thread " + HOSTILE)
thread.start()
thread.join()
quiet = threading.Thread(target=sys.exit, name="quiet")
quiet.start()
quiet.join()
Ignored()
fail()
"""
# A file of `log_config_append`, whose formatter knows nothing about snapmanage.
LOG_CONFIGURATION = """
[loggers]
keys = root
[handlers]
keys = stderr
[formatters]
keys = own
[logger_root]
level = INFO
handlers = stderr
[handler_stderr]
class = StreamHandler
formatter = own
args = ()
[formatter_own]
format = %(levelname)s %(name)s %(message)s
"""


@pytest.fixture(params=["oslo.log", "file of an operator"])
def arguments(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if request.param == "oslo.log":
        return []
    file = tmp_path / "logging.conf"
    file.write_text(LOG_CONFIGURATION)
    return ["--log-config-append", str(file)]


def test_every_line_of_the_log_is_printable_and_none_is_forged(arguments: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)

    lines = ended.stderr.split("\n")
    assert [line for line in lines if not line.isprintable() or line.startswith("2026-01-01 ")] == []
    for record in ("library", "UserWarning: warning", "Thread thread", "ValueError:"):
        assert any(f"{record} {ESCAPED}" in line for line in lines), record
    assert not any("Thread quiet" in line for line in lines)
    assert any("Exception ignored in" in line for line in lines)
    assert any("Unhandled error" in line for line in lines)


ONE_RECORD = r"""
import logging, sys
from snapmanage.cmd.wiring import configuration

configuration.load(sys.argv[1:], "program", [])
logging.getLogger("library").warning("caf\u00e9 \u20ac")
"""


def test_character_that_the_encoding_of_the_log_lacks_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "program.log"
    ascii_only = os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    command = [sys.executable, "-c", ONE_RECORD, "--log-file", str(file)]

    ended = subprocess.run(command, env=ascii_only, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert file.read_text().endswith("library [-] caf\\xe9 \\u20ac\n")
