"""The use cases: request, accept, claim, resolve, settle, unmanage, register, list.

Each use case reads rows, asks `snapmanage.core` for a decision, and writes records, messages and events in one
transaction. After the commit the relay of the process receives the messages.
"""
