"""``python -m example_app``: migrate, make the demo accounts, serve on loopback."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import flask_migrate
from werkzeug.serving import run_simple

from . import create_app
from .demo import seed


def main() -> None:
    """Start from whatever is there, be it nothing."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app = create_app()
    port = int(os.environ.get("PORT", "5000"))
    with app.app_context():
        flask_migrate.upgrade()
        passwords = seed()
    print(welcome(f"http://127.0.0.1:{port}", passwords), flush=True)
    run_simple("127.0.0.1", port, app, threaded=True)


def welcome(address: str, passwords: dict[str, str]) -> str:
    """Return what to do now.

    Args:
        address: where the app is.
        passwords: those of the accounts that were just made, by email.
    """
    reset = f"{_python()} -m flask --app example_app reset-demo"
    if passwords:
        accounts = [f"    {email:18}{password}" for email, password in passwords.items()]
        hint = "These passwords are shown once. For new ones:"
    else:
        accounts = []
        hint = "The passwords were shown at the first start. For new ones:"
    lines = (
        f"Commonplace is at {address} (Ctrl+C stops it).",
        "",
        *accounts,
        f"  {hint}",
        f"    {reset}",
        "",
        "  1. Sign in as ada@example.com from two browsers; a private window counts as one.",
        "  2. Open Devices: both are there, by name.",
        "  3. Sign the other one out, and reload it: it is out, and told why.",
        "  4. Read Recently signed out: what ended, when and why.",
    )
    return "\n".join(lines)


def _python() -> str:
    """Return the Python that runs this, as one would type it here."""
    path = Path(sys.executable)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == "__main__":
    main()
