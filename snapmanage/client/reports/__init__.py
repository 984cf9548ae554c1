"""Reports about a plan: its outcomes by reason, with examples and remedies, as a table, HTML, CSV or JSON."""
