"""The rules about snapshots, as functions from values to values.

Nothing in here sees a clock, a row, a socket or an option.
"""
