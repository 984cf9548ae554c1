"""The use cases: request, accept, claim, resolve, settle, unmanage, register, list.

Each reads what it needs, asks `snapmanage.core`, and writes record, messages and events in one
transaction; what is owed to the bus is handed to the relay right after the commit.
"""
