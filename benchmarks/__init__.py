"""What snapmanage takes, measured on real services with everything in processes of its own.

`python -m benchmarks` (`make bench`) prints one line of JSON for each benchmark; `python -m benchmarks.compare`
puts two files of such lines side by side. The figures of a shared machine differ from hour to hour, so
the floors (what the same machine does with nothing but the bus, or nothing but the database) are
measured in the same run, and ratios to them are what counts.
"""
