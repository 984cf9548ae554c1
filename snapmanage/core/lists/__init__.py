"""Lists that the API pages through: manageable snapshots and volumes, and the pages of records."""
