"""Alembic's entry: run the migrations on the connection that `visagent.gallery.database` hands over."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="visagent_gallery_version",
                  transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
