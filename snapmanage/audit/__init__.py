"""The audit log: write the events of the bus to it, verify it, and export it."""
