"""The process of one test for `python -m tests.fuzz`: ENGINE MODULE:TEST SECONDS FOLDER [INPUT].

Both engines make bytes, from which the strategies of hypothesis make the arguments of the test.
"""

import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

# libFuzzer ends the process at the first input that takes longer, or needs more memory.
MOST_SECONDS, MOST_MEBIBYTES = 20, 1500
INPUT_BYTES = 4096
FIRST_INPUTS = 20


def main() -> None:
    engine, target, seconds, folder, *inputs = sys.argv[1:]
    logging.basicConfig(handlers=[logging.NullHandler()])
    if inputs:
        load(target)(Path(inputs[0]).read_bytes())
    elif engine == "atheris":
        guided(target, int(seconds), Path(folder))
    else:
        unguided(load(target), int(seconds), Path(folder) / f"{target.partition(':')[2]}-crash")


def load(target: str) -> Callable[[bytes], None]:
    """Return a function that runs the test with the arguments that some bytes stand for."""
    importlib.import_module("snapmanage.cmd")  # selects threads, before any import of oslo's libraries
    module, _, name = target.partition(":")
    test = getattr(importlib.import_module(f"tests.fuzz.{module}"), name)
    fuzz_one = test.hypothesis.fuzz_one_input

    def run(data: bytes) -> None:
        try:
            fuzz_one(data)
        except BaseException:
            traceback.print_exc()  # with the input, which is a note of the exception
            raise

    return run


def guided(target: str, seconds: int, folder: Path) -> None:
    """Let atheris choose the bytes, by the code of snapmanage that they reach; exit with its code."""
    import atheris

    with atheris.instrument_imports(include=["snapmanage"]):
        run = load(target)
    name = target.partition(":")[2]
    corpus = folder / name
    corpus.mkdir(exist_ok=True)
    for number in range(FIRST_INPUTS):
        (corpus / f"first-{number}").write_bytes(Random(number).randbytes(INPUT_BYTES))
    options = {
        "max_total_time": seconds,
        "timeout": MOST_SECONDS,
        "rss_limit_mb": MOST_MEBIBYTES,
        "max_len": INPUT_BYTES,
        "len_control": 0,
        "artifact_prefix": f"{folder}/{name}-",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], run)
    atheris.Fuzz()


def unguided(run: Callable[[bytes], None], seconds: int, find: Path) -> None:
    """Run the test on random bytes; write the bytes of a failure into the file `find`."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = os.urandom(INPUT_BYTES)
        number += 1
        try:
            run(data)
        except BaseException:
            find.write_bytes(data)
            raise
    print(f"{number} inputs", flush=True)


if __name__ == "__main__":
    main()
