"""A pytest plugin that runs the contract suite on the laboratory of a driver: `pytest --snapmanage-lab MODULE:CLASS`.

pytest loads it in every project of an environment that has snapmanage, so it imports the suite only with the option.
"""

from pathlib import Path

import pytest

SUITE = Path(__file__).with_name("contract")
HELP = (
    "Run snapmanage's contract suite for drivers on this laboratory, a class as described in snapmanage.testing.lab. "
    "Without test paths on the command line, the suite runs beside the project's own tests; with paths, add "
    "'--pyargs snapmanage.testing.contract'."
)

pytest.register_assert_rewrite("snapmanage.testing.contract")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("snapmanage").addoption("--snapmanage-lab", metavar="MODULE:CLASS", help=HELP)


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--snapmanage-lab")
    if name is None:
        return
    from snapmanage.testing.selection import Selection

    config.pluginmanager.register(Selection.of(config, name), "snapmanage-lab")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args.append(str(SUITE))
