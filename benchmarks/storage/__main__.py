"""`python -m benchmarks.storage RESULTS`: print the table of the storage benchmark in a file of results again."""

import argparse
import json
from pathlib import Path

from benchmarks.storage import table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("results", type=Path, help="a file that `make bench` has written")
    results = parser.parse_args().results
    print(table.render(json.loads(line) for line in results.read_text().splitlines()))


if __name__ == "__main__":
    main()
