"""Measurements of snapmanage on real services, with each part in a process of its own.

`python -m benchmarks` (`make bench`) prints one line of JSON for each benchmark; `python -m benchmarks.compare`
shows two files of such lines side by side. The figures of a shared machine vary from hour to hour. Therefore each run
also measures floors, the figures of the bus alone and of the database alone; compare the ratios to these floors.
"""
