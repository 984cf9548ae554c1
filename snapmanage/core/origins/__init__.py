"""The tools that make snapshots, recognised by names, and the consequence of a new name for each tool."""
