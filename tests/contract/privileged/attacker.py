"""A service in an attacker's hands: it starts the helper as sudoers allows, and sends requests of its own.

It runs as the user `snapmanage`, on a machine of `tests.services.guests.machine`.
"""

import json
from collections.abc import Sequence
from typing import Any

from tests.services.guests.machine import COMMAND, PYTHON, USER, Machine

ARGUMENTS = ("--privsep_context", "snapmanage.drivers.system.privsep.context", "--privsep_sock_path")
CALL, ERR = 3, 5

_ATTACK = """
import json, os, signal, socket, subprocess, sys, tempfile
import msgpack

order = json.loads(sys.argv[1])
path = os.path.join(tempfile.mkdtemp(), "privsep.sock")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
for name in order["ignored"]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
started = subprocess.run([*order["before"], *order["command"], path], restore_signals=False)
os.unlink(path)
os.rmdir(os.path.dirname(path))
if started.returncode:
    sys.exit(1)
connection, _ = listener.accept()
replies = msgpack.Unpacker(use_list=True, raw=False)

def reply_to(number):
    while True:
        for message in replies:
            if message[0] == number:
                return message[1]
        received = connection.recv(65536)
        if not received:
            return ["the helper ended"]
        replies.feed(received)

for number, (name, arguments) in enumerate(order["calls"]):
    connection.sendall(msgpack.packb([str(number), [3, name, arguments, {}]]))
    print(json.dumps(reply_to(str(number))), flush=True)
sys.stdin.read()
"""


def order(calls: Sequence[tuple[str, Sequence[Any]]], before: Sequence[str], ignored: Sequence[str]) -> str:
    command = ["sudo", "-n", *COMMAND, *ARGUMENTS]
    return json.dumps({"calls": list(calls), "command": command, "before": list(before), "ignored": list(ignored)})


def attack(host: Machine, *calls: tuple[str, Sequence[Any]]) -> list[list[Any]]:
    """Send the calls, each with the full name of a function and its arguments; return the replies."""
    ended = host.run(PYTHON, "-I", "-c", _ATTACK, order(calls, (), ()), user=USER)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def command(before: Sequence[str] = (), ignored: Sequence[str] = ()) -> list[str]:
    """Return a command that starts the helper, after the words `before`, and holds it until its input ends."""
    calls = [("snapmanage.drivers.lvm.privileged.nothing", ())]
    return [PYTHON, "-I", "-c", _ATTACK, order(calls, before, ignored)]
