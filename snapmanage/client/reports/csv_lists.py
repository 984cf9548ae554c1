"""CSV as RFC 4180 has it, which every spreadsheet reads."""

import argparse
import csv
import os
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from cliff.formatters.commaseparated import CSVLister

WITHOUT_QUOTES = "none"


class CsvList(CSVLister):
    """Prints rows as they come. cliff doubles each backslash, which a spreadsheet would show."""

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        if parsed_args.quote_mode == WITHOUT_QUOTES:  # commas then need the backslash
            super().emit_list(column_names, data, stdout, parsed_args)
            return
        writer = csv.writer(stdout, quoting=self.QUOTE_MODES[parsed_args.quote_mode], lineterminator=os.linesep)
        writer.writerow(column_names)
        writer.writerows(data)
