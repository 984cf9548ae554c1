"""The checks before an upgrade: each module has one, with the remedy in the text of its result."""
