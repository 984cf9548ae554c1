"""The database's history, a step a file, run by alembic."""
