"""Hostile input at every reader: only declared errors, bounded time and memory.

`make test` runs a short and repeatable part of each test, `make fuzz` runs them for longer and guides them by coverage.
"""
