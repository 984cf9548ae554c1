"""Alembic's entry: run the migrations on the connection of `store.engine.schema`."""

from alembic import context

from snapmanage.store.mapping.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
