"""The demo accounts: made at the first start, with passwords that nobody else knows."""

from __future__ import annotations

import secrets

import click
from flask.cli import with_appcontext

from .extensions import db, device_sessions
from .models import Note, User

#: No 0 and o, no 1, i and l: people type this.
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"

_PEOPLE: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "ada@example.com": (
        "Ada",
        (
            (
                "Some books are to be tasted, others to be swallowed, and some few to be chewed "
                "and digested.",
                "Francis Bacon, Of Studies",
            ),
            (
                "We may say most aptly, that the Analytical Engine weaves algebraical patterns "
                "just as the Jacquard-loom weaves flowers and leaves.",
                "Ada Lovelace, Notes on the Analytical Engine",
            ),
            ("I dwell in Possibility –\nA fairer House than Prose –", "Emily Dickinson"),
        ),
    ),
    "finn@example.com": (
        "Finn",
        (
            ("Our life is frittered away by detail.", "Henry David Thoreau, Walden"),
            (
                "I am no bird; and no net ensnares me.",
                "Charlotte Brontë, Jane Eyre",
            ),
        ),
    ),
}


def seed() -> dict[str, str]:
    """Make the demo accounts unless there are accounts already.

    Returns:
        The new passwords by email, in clear: only their hashes are kept.
    """
    if db.session.query(User.id).first() is not None:
        return {}
    passwords = {email: new_password() for email in _PEOPLE}
    for email, (name, notes) in _PEOPLE.items():
        user = User(email=email, name=name)
        user.set_password(passwords[email])
        user.notes = [Note(text=text, source=source) for text, source in notes]
        db.session.add(user)
    db.session.commit()
    return passwords


def new_password() -> str:
    """Return a random password of 12 characters, 59 bits, in groups of four."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
    return "-".join(groups)


@click.command()
@with_appcontext
def reset_demo() -> None:
    """Give the demo accounts new passwords, and sign them out everywhere."""
    people = db.session.query(User).filter(User.email.in_(_PEOPLE)).order_by(User.email).all()
    if not people:
        raise click.ClickException("There are no demo accounts: run `python -m example_app` once.")
    for user in people:
        password = new_password()
        user.set_password(password)
        device_sessions.password_changed(user, commit=False)
        click.echo(f"{user.email}  {password}")
    db.session.commit()
