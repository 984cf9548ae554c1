"""The work of the commands: scan, plan, apply, undo and watch."""
