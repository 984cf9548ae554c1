"""Make every log record printable: one record is one line, and text from outside can't forge another one.

The fields of a record are escaped by the record itself, not by a formatter. So the logs of libraries, every handler,
and the formatters of `log_config_append` are covered too. A traceback keeps its own lines; a line break within the
text of an exception is escaped.
"""

import logging
import re
import sys
import threading
import traceback
from typing import Any

from oslo_config import cfg
from oslo_log import log

from snapmanage.core.values.text import printable

LOG = logging.getLogger(__name__)

# The escape sequence of ColorHandler, and texts whose lines are escaped or hold only source code.
_OWN_CHARACTERS = ("color", "exc_text", "stack_info")
# The parts of a traceback that hold line breaks of their own: a place in the code, and the sentence between two
# exceptions. The margin is that of an exception group.
_OWN_LINES = re.compile(r'[ |+-]*(?:File "|\n)')


class PrintableRecord(logging.LogRecord):
    """A log record whose fields, message and traceback are printable when a formatter has read the message."""

    def getMessage(self) -> str:
        """Return the message, and escape every field; a formatter has set them all when it calls this function."""
        for name, value in vars(self).items():
            if isinstance(value, str) and not value.isprintable() and name not in _OWN_CHARACTERS:
                vars(self)[name] = printable(value)
        return printable(super().getMessage())

    @property
    def exc_text(self) -> str | None:
        """The traceback as a formatter has written it, with each of its lines escaped."""
        text: str | None = vars(self).get("exc_text")
        return text

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        vars(self)["exc_text"] = text and _printable_traceback(text, self.exc_info)


def setup(conf: cfg.ConfigOpts) -> None:
    """Set up logging as `conf` says; warnings and uncaught exceptions, those of threads too, are logged."""
    logging.setLogRecordFactory(PrintableRecord)
    log.setup(conf, "snapmanage")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            _accept_every_character(handler)
    logging.captureWarnings(True)
    threading.excepthook = _log_death_of_thread
    sys.unraisablehook = _log_unraisable


def _accept_every_character(handler: logging.FileHandler) -> None:
    """Let the handler escape a character that the locale's encoding lacks; otherwise logging drops the record."""
    handler.errors = "backslashreplace"  # for a file that is opened again, as after logrotate
    if handler.stream:
        handler.stream.reconfigure(errors=handler.errors)


def _log_death_of_thread(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is not SystemExit:
        name = died.thread.name if died.thread else "unknown"
        exc_info = (died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
        LOG.critical("Thread %s ended unexpectedly; restart the process.", name, exc_info=exc_info)


def _log_unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    exc_info = (ignored.exc_type, ignored.exc_value or ignored.exc_type(), ignored.exc_traceback)
    LOG.warning("%s: %r", ignored.err_msg or "Exception ignored in", ignored.object, exc_info=exc_info)


def _printable_traceback(text: str, exc_info: Any) -> str:
    """Return a formatter's text of a traceback with one line for each line of it, and one for the exception's text.

    The formatter may have written a prefix before each line. If it has written another form, escape it line by line.
    """
    lines = text.split("\n")
    if not isinstance(exc_info, tuple):  # the record comes from another process, which has sent only the text
        return "\n".join(map(printable, lines))
    parts = traceback.format_exception(*exc_info)
    known = "".join(parts).removesuffix("\n").split("\n")
    prefix = lines[0].removesuffix(known[0])
    if lines[: len(known)] == [prefix + line for line in known] and set(lines[len(known) :]) <= {prefix}:
        lines = [prefix + line for part in parts for line in _lines(part.removesuffix("\n"))]
    return "\n".join(map(printable, lines))


def _lines(part: str) -> list[str]:
    return part.split("\n") if _OWN_LINES.match(part) else [printable(part)]
