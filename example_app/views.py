"""The pages and the JSON view. All of them need somebody who is signed in."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required

from flask_device_sessions import fresh_session_required, scopes_required

from .extensions import db, device_sessions
from .models import Note, User

#: Longest source and shortest password, in characters.
SOURCE_LENGTH, PASSWORD_LENGTH = 200, 12

blueprint = Blueprint("views", __name__)


def _me() -> User:
    """Return the person who is signed in."""
    return cast("User", current_user._get_current_object())


@blueprint.after_request
def _keep_private(response: Response) -> Response:
    """Let no cache keep a page, and no page load anything from elsewhere."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
    return response


@blueprint.get("/")
@login_required
def notes() -> str:
    """Show the person's own notes, newest first."""
    return render_template("notes.html", notes=_me().notes)


@blueprint.post("/notes")
@login_required
def add_note() -> ResponseReturnValue:
    """Keep one more note."""
    text = request.form.get("text", "").strip()
    if not text:
        flash("There is nothing to keep yet: write the passage first.", "error")
        return redirect(url_for(".notes"), 303)
    source = request.form.get("source", "").strip()[:SOURCE_LENGTH]
    db.session.add(Note(user_id=_me().id, text=text, source=source))
    db.session.commit()
    flash("Kept.", "success")
    return redirect(url_for(".notes"), 303)


@blueprint.get("/account")
@login_required
def account() -> str:
    """Show what the app knows about the person."""
    sessions = device_sessions.sessions_of(_me())
    return render_template("account.html", sessions=sessions)


@blueprint.route("/account/password", methods=["GET", "POST"])
@fresh_session_required
def change_password() -> ResponseReturnValue:
    """Set a new password; every other device is signed out."""
    password = request.form.get("password", "")
    if request.method == "GET":
        return render_template("password.html", shortest=PASSWORD_LENGTH)
    if len(password) < PASSWORD_LENGTH:
        flash(f"A password has at least {PASSWORD_LENGTH} characters.", "error")
        return render_template("password.html", shortest=PASSWORD_LENGTH), 400
    _me().set_password(password)
    ended = device_sessions.password_changed(_me())
    flash(f"The password is changed. Other devices signed out: {ended}.", "success")
    return redirect(url_for(".account"), 303)


@blueprint.get("/api/notes.json")
@scopes_required("notes:read")
def notes_json() -> ResponseReturnValue:
    """Return the person's own notes as JSON, to their browsers and to tokens that may read them."""
    return {
        "notes": [
            {
                "id": note.id,
                "text": note.text,
                "source": note.source,
                "kept_on": note.kept_on.isoformat(),
            }
            for note in _me().notes
        ]
    }
