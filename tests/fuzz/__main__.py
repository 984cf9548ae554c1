"""Run the tests of this package for a long time: `python -m tests.fuzz --seconds 60 --target qcow2`.

atheris generates the input and prefers input that reaches new code; without it, hypothesis generates the input.
Each test runs in a process of its own. The input of a failure is printed, and is also kept in the folder `.fuzz`:
`python -m tests.fuzz --target TEST --input FILE` repeats it.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
FINDS = Path(".fuzz")


def main() -> int:
    arguments = _parser().parse_args()
    targets = [name for name in find_targets() if not arguments.target or arguments.target in name]
    if not targets:
        print(f"No test of {FOLDER} has {arguments.target!r} in its name; the tests are:", *find_targets(), sep="\n")
        return 2
    print(f"{len(targets)} tests, {arguments.seconds} s each, with {engine()}", flush=True)
    return max(run(target, arguments.seconds, arguments.input) for target in targets)


def find_targets() -> list[str]:
    """Return the names MODULE:TEST of every test of this package; MODULE may have dots."""
    return [
        f"{_module(file)}:{line.removeprefix('def ').partition('(')[0]}"
        for file in sorted(FOLDER.rglob("test_*.py"))
        for line in file.read_text().splitlines()
        if line.startswith("def test_")
    ]


def _module(file: Path) -> str:
    return ".".join(file.relative_to(FOLDER).with_suffix("").parts)


def engine() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "hypothesis"


def run(target: str, seconds: int, repeated: Path | None) -> int:
    """Run one test in a new process; return 0 if it found nothing."""
    FINDS.mkdir(exist_ok=True)
    print(f"\n{target}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.process", engine(), target, str(seconds), str(FINDS)]
    ended = subprocess.run([*command, *([str(repeated)] if repeated else [])], check=False)
    return 1 if ended.returncode else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time of each test (default: %(default)s)")
    parser.add_argument("--target", default="", help="a part of the names of the tests to run (default: all tests)")
    parser.add_argument("--input", type=Path, help="repeat the test on the input in this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
