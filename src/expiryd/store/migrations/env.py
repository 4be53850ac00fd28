"""Runs the migrations on the connection, and in the transaction, that expiryd.store.migrate hands over."""

from alembic import context

from expiryd.store.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["history"].metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transactional_ddl=True,  # also on SQLite, where we begin transactions ourselves
)
with context.begin_transaction():
    context.run_migrations()
