"""A read timeout for PostgreSQL: psycopg has none, and a frozen server keeps its callers."""

import time

import psycopg


class Impatient(psycopg.Connection):
    """Gives up a server that says nothing for so many seconds."""

    patience = 5.0

    def wait(self, gen, *args, **options):
        try:
            return super().wait(_until(time.monotonic() + self.patience, gen), *args, **options)
        except TimeoutError as error:
            self.close()
            raise psycopg.OperationalError("The server does not answer.") from error


def _until(deadline, gen):
    ready = None
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield wanted
        if not ready and time.monotonic() > deadline:
            raise TimeoutError


def engine_options(conninfo):
    """For ``SQLALCHEMY_ENGINE_OPTIONS``; the URL is ``postgresql+psycopg://`` then."""
    return {"creator": lambda: Impatient.connect(conninfo)}
