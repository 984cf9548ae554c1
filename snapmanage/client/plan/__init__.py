"""The plan file, its journal, and the temporary files that keep memory bounded."""
