"""Launchers of real services, for the tests and the benchmarks of snapmanage; they are not public."""
