"""A Sphinx directive that shows the `--help` of a command, and of each command below it.

    ```{command-help} snapmanage-manage
    ```

A command is the name of a console script of snapmanage. Its main function runs in a process of its own: it changes
global state.
"""

import io
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# How argparse shows commands in the usage: "{list,show} ...".
COMMANDS = re.compile(r"\{([\w,-]+)\}\s+\.\.\.")


class CommandHelp(SphinxDirective):
    """Show the help texts of the command in its argument as blocks of a console."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {}

    def run(self) -> list[nodes.Node]:
        return [_block(f"$ {' '.join(words)} --help\n{text}") for words, text in help_texts((self.arguments[0],))]


def help_texts(words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield a command and its help text, then those of the commands below it, depth first."""
    text = _help(words)
    yield words, text
    usage = text.partition("\n\n")[0]
    if below := COMMANDS.search(usage):
        for name in below[1].split(","):
            yield from help_texts((*words, name))


def _help(words: tuple[str, ...]) -> str:
    main = _main(words[0])
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_print_help, args=(main, words, sender))
    process.start()
    sender.close()
    try:
        return str(receiver.recv())
    finally:
        process.join()


@cache
def _main(name: str) -> Callable[[], Any]:
    """Return the main function of a console script; its imports take longer than its help."""
    [script] = entry_points(group="console_scripts", name=name)
    main: Callable[[], Any] = script.load()
    return main


def _print_help(main: Callable[[], Any], words: tuple[str, ...], sender: Connection) -> None:
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    sys.argv = [*words, "--help"]
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        main()
    sender.send(printed.getvalue())


def _block(text: str) -> nodes.literal_block:
    return nodes.literal_block(text, text.rstrip(), language="text")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
