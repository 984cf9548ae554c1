"""The tables, and the translation between their rows and the values of `snapmanage.core`."""
