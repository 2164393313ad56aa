"""Runs the migrations on the connection that the store opened; there is no other way to run them."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
context.run_migrations()
