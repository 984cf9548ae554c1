"""The probes of several processes of one main: the supervisor asks each worker, and answers for all.

The workers listen on UNIX sockets in a folder that only this user can enter. A supervisor that asks them learns of a
worker that hangs or died; a port that they share would lead each probe to any one of them.
"""

import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from snapmanage.cmd.process import bounded_check
from snapmanage.cmd.process.probes import LIVE, READY, Probes, pages
from snapmanage.cmd.process.status_server import Pages
from snapmanage.core.readiness import Check, together

# A worker's checks have a limit of their own.
ANSWER_SECONDS = bounded_check.SECONDS + 1
_SUFFIX = ".sock"

Answers = Mapping[str, Callable[[], Sequence[Check]]]


class WorkerProbes:
    """The sockets of `count` workers; the supervisor makes the object before it starts them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._folder = tempfile.mkdtemp(prefix="snapmanage-probes-")
        # The path of a UNIX socket has at most 107 bytes, and TMPDIR may have more. Workers inherit the descriptor.
        self._descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        self._sockets = Path(f"/proc/self/fd/{self._descriptor}")

    def close(self) -> None:
        os.close(self._descriptor)
        shutil.rmtree(self._folder, ignore_errors=True)

    def listen(self, probes: Probes) -> None:
        """Answer for this worker, in threads that end with it."""
        path = self._sockets / f"{os.getpid()}{_SUFFIX}"
        path.unlink(missing_ok=True)  # of a dead process with the same number
        server = _Server(path, {LIVE: probes.live, READY: probes.ready})
        threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()

    def pages(self) -> Pages:
        return pages(self.live, self.ready)

    def live(self) -> list[Check]:
        """Return the checks of the workers that run; the supervisor replaces those that have died."""
        return together(self._ask(LIVE)) or [Check("threads")]

    def ready(self) -> list[Check]:
        answers = self._ask(READY)
        missing = f"{len(answers)} of {self._count} worker processes answer" if len(answers) < self._count else None
        return [Check("workers", missing), *together(answers)]

    def _ask(self, probe: str) -> list[list[Check]]:
        """Return the answers of all workers, asked at the same time; a worker that has died has none."""
        paths = list(self._sockets.glob(f"*{_SUFFIX}"))
        with ThreadPoolExecutor(max(1, len(paths)), "ask") as pool:
            answers = list(pool.map(partial(_ask, probe), paths))
        return [answer for answer in answers if answer is not None]


def _ask(probe: str, path: Path) -> list[Check] | None:
    """Return a worker's answer, which names its process in each problem; None if no process listens."""
    worker = f"worker process {path.stem}"
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(str(path))
            asking.sendall(f"{probe}\n".encode())
            with asking.makefile("rb") as answer:
                checks = [Check(**each) for each in json.loads(answer.readline())]
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
        return None
    except (OSError, ValueError) as error:
        return [Check("threads", f"{worker} does not answer: {error}")]
    return [Check(each.name, each.problem and f"{worker}: {each.problem}") for each in checks]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, answers: Answers) -> None:
        self.answers = answers
        super().__init__(str(path), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    """Answer one probe with its checks as JSON."""

    server: _Server
    timeout = ANSWER_SECONDS

    def handle(self) -> None:
        answer = self.server.answers.get(self.rfile.readline().decode().strip())
        if answer:
            self.wfile.write(json.dumps([asdict(check) for check in answer()]).encode() + b"\n")
