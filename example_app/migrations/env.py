"""How `flask db` runs the migrations: Flask-Migrate's own file, without what this app does not use."""

import logging
from logging.config import fileConfig

from alembic import context
from flask import current_app

config = context.config
migrate = current_app.extensions["migrate"]

# `flask db` has no logging of its own; an app that migrates at its start, and a test suite, do.
if not logging.getLogger().handlers:
    fileConfig(config.config_file_name, disable_existing_loggers=False)
logger = logging.getLogger("alembic.env")


def drop_empty(context, revision, directives):
    """Write no migration file when nothing has changed."""
    if getattr(config.cmd_opts, "autogenerate", False) and directives[0].upgrade_ops.is_empty():
        directives[:] = []
        logger.info("No changes in schema detected.")


def run_offline():
    """Print the SQL instead of running it: `flask db upgrade --sql`."""
    url = migrate.db.engine.url.render_as_string(hide_password=False)
    context.configure(url=url, target_metadata=migrate.db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_online():
    """Run them on the app's database."""
    options = {"process_revision_directives": drop_empty, **migrate.configure_args}
    with migrate.db.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=migrate.db.metadata, **options)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
