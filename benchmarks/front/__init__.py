"""Compare HTTP servers: how each holds against slow clients, and its cost for quick ones.

    python -m benchmarks.front NAME...

`snapmanage` is the server of this tree; waitress and granian must be installed to be measured.
"""
