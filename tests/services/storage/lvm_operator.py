"""Run lvm2 commands in a User Mode Linux guest, one after another in one process.

Starting a process of lvm2 takes most of a command's time in the guest. lvm2's own command library,
`liblvm2cmd`, runs a command as the tool does, takes the same locks, and reads the metadata from the disk
again for each command. Debian installs the library with the package `lvm2`.

The library prints, and may end its process, so it has a process of its own: this file, run as a program.
"""

import atexit
import ctypes
import json
import os
import shlex
import subprocess
import sys
from functools import cache

LIBRARY = "liblvm2cmd.so.2.03"
SUCCEEDED = 1


def lvm(*argv: str) -> str:
    """Run a command of lvm2 and return its output; if it fails, the test fails with its messages."""
    operator = _operator()
    assert operator.stdin is not None
    assert operator.stdout is not None
    print(shlex.join(argv), file=operator.stdin, flush=True)
    answer = operator.stdout.readline()
    assert answer, f"lvm2's library ended with {operator.wait()} in {argv}"
    printed: str
    code, printed, messages = json.loads(answer)
    assert code == SUCCEEDED, f"{argv} ended with {code}: {messages}"
    return printed


@cache
def _operator() -> subprocess.Popen[str]:
    """Start the process; it ends when this process ends."""
    program = [sys.executable, "-S", "-E", __file__]
    operator = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(operator.communicate)  # closes its standard input
    return operator


def main() -> None:
    """Run the command on each line of the standard input and print a line of JSON: code, output, messages."""
    lvm2, libc = ctypes.CDLL(LIBRARY), ctypes.CDLL(None)
    lvm2.lvm2_init.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(lvm2.lvm2_init())
    with os.fdopen(os.dup(1), "w") as answers:
        captured = [_capture(descriptor) for descriptor in (1, 2)]
        for command in sys.stdin:
            code = lvm2.lvm2_run(handle, command.rstrip("\n").encode())
            libc.fflush(None)
            print(json.dumps([code, *map(_emptied, captured)]), file=answers, flush=True)


def _capture(descriptor: int) -> int:
    """Make the descriptor write into memory, and return a descriptor of that memory."""
    memory = os.memfd_create("printed")
    os.dup2(memory, descriptor)
    return memory


def _emptied(memory: int) -> str:
    """Return the text in the memory and empty it."""
    text = os.pread(memory, os.fstat(memory).st_size, 0)
    os.ftruncate(memory, 0)
    os.lseek(memory, 0, os.SEEK_SET)
    return text.decode()


if __name__ == "__main__":
    main()
