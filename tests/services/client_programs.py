"""The programs of the clients as warm processes, which a test or a shell starts."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from snapmanage.testing.services import warm

BIN = Path(sys.executable).parent
PROGRAMS = tuple(BIN / name for name in ("cinder", "openstack", "snapmanage"))
# The modules that a command imports; the shell of `openstack` imports those of all plugins too.
IMPORTED = (
    "cinderclient.contrib.noauth",
    "cinderclient.shell",
    "cinderclient.v3.client",
    "cinderclient.v3.shell",
    *(
        f"cliff.formatters.{name}"
        for name in ("commaseparated", "json_format", "shell", "table", "value", "yaml_format")
    ),
    "encodings.idna",
    "netrc",
    "openstack.block_storage.v3._proxy",
    "openstackclient.shell",
    "snapmanage.client.app",
    "snapmanage.cmd.main",
)
SECONDS = 60
# The shell starts this small program, which lets the forking process start the real one with its own three files.
LAUNCHER = """\
#!{python} -ISS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    request = {{"command": [{program!r}, *sys.argv[1:]], "env": dict(os.environ), "cwd": os.getcwd()}}
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
    sys.exit(int(server.recv(100)))
"""


@cache
def forker() -> warm.Forker:
    """Return the process that starts the programs."""
    groups = [name for name in entry_points().groups if name.startswith(("keystoneauth1.plugin", "openstack."))]
    plugins = {each.module for name in groups for each in entry_points(group=name)}
    return warm.Forker([*IMPORTED, *sorted(plugins)])


def run(program: str, *arguments: str, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a program in a warm process that has exactly this environment; kill it after `SECONDS`."""
    argv = [str(BIN / program), *arguments]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        process = warm.Process(argv, stdout=out, stderr=err, env=environment, forker=forker())
        try:
            code = process.wait(SECONDS)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


@contextmanager
def for_a_shell(programs: Sequence[Path] = PROGRAMS) -> Iterator[Path]:
    """Yield a folder with launchers of the programs: a shell that starts them there gets warm processes."""
    with (
        TemporaryDirectory(prefix="snapmanage-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        ThreadPoolExecutor() as threads,
    ):
        address = f"{folder}/socket"
        for program in programs:
            launcher = Path(folder) / program.name
            launcher.write_text(LAUNCHER.format(python=sys.executable, address=address, program=str(program)))
            launcher.chmod(0o700)
        listener.bind(address)
        listener.listen()
        threads.submit(_serve, listener, threads)
        try:
            yield Path(folder)
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, threads: ThreadPoolExecutor) -> None:
    with suppress(OSError):  # the listener was shut down
        while True:
            threads.submit(_start, listener.accept()[0])


def _start(launcher: socket.socket) -> None:
    """Start a launcher's program with the launcher's files, and return the exit status to it."""
    with launcher:
        message, files, _, _ = socket.recv_fds(launcher, warm.LONGEST_MESSAGE, 3)
        stdin, stdout, stderr = files
        process = warm.Process(stdin=stdin, stdout=stdout, stderr=stderr, forker=forker(), **json.loads(message))
        for file in files:
            os.close(file)
        launcher.send(str(process.wait()).encode())
