"""``flask device-sessions``: the extension's verbs for operators and for scripts.

What is asked for goes to stdout; questions, progress and what went wrong go to stderr. The
words are English: they are for whoever runs the app, as its errors are.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import click
from flask.cli import with_appcontext

from . import records
from .chain import PROBLEMS, AuditReport
from .checks import PROBLEM
from .devices import describe
from .errors import DeviceSessionsError
from .faults import STORE_FAULTS
from .proxies import current_extension
from .text import clean

#: Longest text of one cell, and of one error, in characters.
_CELL, _LINE = 200, 500

_ADVICE = "Write what they sign in with, or id: and their primary key, such as id:7."

Progress = Callable[[int], object]


class _Command(click.Command):
    """A command whose failures are one line on stderr and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it in the app's context."""
        try:
            return super().invoke(ctx)
        except DeviceSessionsError as error:
            raise _failure(error) from error
        except STORE_FAULTS as error:
            raise _failure(current_extension.explain(error)) from error


def _failure(reason: object) -> click.ClickException:
    return click.ClickException(_line(str(reason)))


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")
_user = click.argument("user")


def _command(name: str, *decorators: Callable[[Any], Any]) -> Callable[[Any], click.Command]:
    """Make a command in the app's context, with these arguments and options."""

    def make(function: Any) -> click.Command:
        for decorator in reversed(decorators):
            function = decorator(function)
        return click.command(name, cls=_Command)(with_appcontext(function))

    return make


# -- Looking -----------------------------------------------------------------------------------


@_command("list", _user, click.option("--ended", is_flag=True, help="Those that ended."), _json)
def list_sessions(user: str, ended: bool, as_json: bool) -> None:
    """List the sessions of USER."""
    sessions = current_extension.sessions_of(_get_person(user), ended=ended)
    if as_json:
        _print_json([records.session(session) for session in sessions])
        return
    current_extension.load_devices(sessions)
    last = ("ended", "reason") if ended else ("last active", "expires")
    _print_table(
        ("id", "kind", "name", "address", "location", *last),
        [_cells_of(session, ended) for session in sessions],
    )


def _cells_of(session: Any, ended: bool) -> Sequence[object]:
    last = (
        (session.ended_at, session.end_reason)
        if ended
        else (session.last_active_at, session.expires_at)
    )
    address = session.last_ip_address
    return session.id, session.kind, _name_of(session), address, session.location, *last


def _name_of(session: Any) -> str:
    """Return the name that its owner gave it, or that of the device."""
    device = session.device
    own = session.name or (device.name if device is not None else None)
    # Not session.device_name: an app's choice of language may ask for the request.
    seen = describe(session.user_agent)
    return own or ", ".join(filter(None, (seen.name or "Unknown device", seen.browser)))


@_command("show", click.argument("session_id", metavar="ID"), _json)
def show(session_id: str, as_json: bool) -> None:
    """Show the session ID."""
    facts = records.session(_get_session(session_id))
    if as_json:
        _print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:{width}}  {_cell(value)}".rstrip())


@_command(
    "events",
    click.argument("user", required=False),
    click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True),
    _json,
)
def events(user: str | None, limit: int, as_json: bool) -> None:
    """Show the newest audit events."""
    person = None if user is None else _get_person(user)
    found = [records.event(row) for row in current_extension.recent_events(person, limit=limit)]
    if as_json:
        _print_json(found)
        return
    columns = ("created_at", "user_id", "action", "ip_address", "detail")
    _print_table(
        [name.removesuffix("_at").replace("_", " ") for name in columns],
        [[event[name] for name in columns] for event in found],
    )


@_command("stats", _json)
def stats(as_json: bool) -> None:
    """Count sessions, devices and events."""
    counts = {k: records.value_of(v) for k, v in current_extension.count()._asdict().items()}
    if as_json:
        _print_json(counts)
        return
    for name, value in counts.items():
        click.echo(f"{name.replace('_', ' '):16}  {_cell(value)}".rstrip())


@_command("check", _json)
def check(as_json: bool) -> None:
    """Look at how the app is deployed."""
    findings = current_extension.check()
    if as_json:
        _print_json([finding._asdict() for finding in findings])
    else:
        _print_table(("check", "level", "what is so"), findings, longest=_LINE)
    problems = sum(finding.level == PROBLEM for finding in findings)
    if problems:
        raise _failure(f"{problems} of {len(findings)} checks found a problem.")


@_command(
    "verify-audit",
    click.option("--user", metavar="USER", help="Check this person's events only."),
    click.option(
        "--anchor",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Miss what was cut off since this anchor was exported.",
    ),
    click.option(
        "--export-anchor",
        type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
        metavar="FILE",
        help="Write an anchor of the trail there, if it is whole.",
    ),
    _json,
)
def verify_audit(
    user: str | None, anchor: Path | None, export_anchor: IO[str] | None, as_json: bool
) -> None:
    """Check that the audit trail is whole."""
    if user is not None and export_anchor is not None:
        raise _failure("An anchor is of everybody's events: leave out --user.")
    person = None if user is None else _get_person(user)
    report = _verify(person, None if anchor is None else _read_anchor(anchor))
    if as_json:
        _print_json(_facts_of(report))
    else:
        _print_findings(report)
    if not report:
        raise _failure(f"The audit trail is not whole: {_counted(report.found, 'finding')}.")
    if export_anchor is not None:
        json.dump(report.anchor, export_anchor)


def _read_anchor(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _failure(f"The anchor cannot be read: {error}") from error


def _verify(person: Any, anchor: Any) -> AuditReport:
    total = current_extension.count_events(person)
    with _progress("Checking events", total) as progress:
        try:
            return current_extension.verify_audit(person, anchor=anchor, progress=progress)
        except ValueError as error:
            raise _failure(error) from error


def _facts_of(report: AuditReport) -> dict[str, Any]:
    findings = [
        {name: records.value_of(value) for name, value in finding._asdict().items()}
        for finding in report.findings
    ]
    return {
        "is_whole": bool(report),
        "events_checked": report.events_checked,
        "users_checked": report.users_checked,
        "found": report.found,
        "findings": findings,
    }


def _print_findings(report: AuditReport) -> None:
    if report:
        checked = _counted(report.events_checked, "event")
        click.echo(f"The audit trail is whole: {checked} checked.")
        return
    _print_table(
        ("user id", "sequence", "problem", "event"),
        [(f.user_id, f.sequence, f.problem, f.event_id) for f in report.findings],
    )
    for problem in dict.fromkeys(finding.problem for finding in report.findings):
        click.echo(f"{problem}: {PROBLEMS[problem]}")


# -- Ending ------------------------------------------------------------------------------------


@_command("revoke", click.argument("session_id", metavar="ID"), _yes)
def revoke(session_id: str, yes: bool) -> None:
    """End the session ID."""
    session = _get_session(session_id)
    _ask(f"End the session {session.id} of user {session.user_id}?", yes)
    _tell(current_extension.revoke(session, reason="admin"), "session", "ended")


@_command("revoke-user", _user, _yes)
def revoke_user(user: str, yes: bool) -> None:
    """End all sessions of USER, and their tokens."""
    person = _get_person(user)
    _ask(f"End all sessions of {_line(user)}?", yes)
    _tell(current_extension.revoke_all(person, reason="admin"), "session", "ended")


@_command("revoke-everyone", _yes)
def revoke_everyone(yes: bool) -> None:
    """End all sessions of all people, and all tokens."""
    counts = current_extension.count()
    total = counts.browsers + counts.tokens
    _ask(f"End all {total} sessions, of {counts.people} people?", yes)
    with _progress("Ending sessions", total) as progress:
        number = current_extension.revoke_everyone(progress=progress)
    _tell(number, "session", "ended")


# -- Tokens ------------------------------------------------------------------------------------


@_command(
    "token",
    _user,
    click.option("--name", required=True, help="What the person will know it by."),
    click.option("--scope", "scopes", multiple=True, help="What it may do; can be repeated."),
    click.option("--days", type=click.IntRange(1, 36500), help="Instead of TOKEN_LIFETIME."),
)
def token(user: str, name: str, scopes: tuple[str, ...], days: int | None) -> None:
    """Make a bearer token for USER."""
    person, span = _get_person(user), _days(days)
    try:
        issued = current_extension.issue_token(person, name=name, scopes=scopes, expires_in=span)
    except ValueError as error:
        raise _failure(error) from error
    click.echo(issued.token)


# -- Keeping, and not keeping ------------------------------------------------------------------


@_command("export", _user, _json)
def export(user: str, as_json: bool) -> None:
    """Print all that is kept of USER, as JSON."""
    _print_json(current_extension.export(_get_person(user)))


@_command("erase", _user, _yes)
def erase(user: str, yes: bool) -> None:
    """Delete all that is kept of USER."""
    person = _get_person(user)
    _ask(f"Delete all sessions, devices and events of {_line(user)}?", yes)
    _tell_deleted(current_extension.erase(person))


@_command(
    "purge",
    click.option("--days", type=click.IntRange(0, 36500), help="Instead of RETENTION."),
    click.option("--batch-size", type=click.IntRange(min=1), default=1000, show_default=True),
    _yes,
)
def purge(days: int | None, batch_size: int, yes: bool) -> None:
    """Delete what is over and old."""
    age = _days(days)
    total = current_extension.count_due(age)
    _ask(f"Delete some {total} old sessions and events?", yes)
    with _progress("Deleting", total) as progress:
        purged = current_extension.purge(older_than=age, batch_size=batch_size, progress=progress)
    _tell_deleted(purged)


#: Every command, by its name.
COMMANDS = {
    str(command.name): command
    for command in (
        list_sessions,
        show,
        revoke,
        revoke_user,
        revoke_everyone,
        events,
        verify_audit,
        token,
        export,
        erase,
        purge,
        stats,
        check,
    )
}


# -- Finding -----------------------------------------------------------------------------------


def _get_person(text: str) -> Any:
    person = current_extension.find_person(clean(text, _CELL))
    if person is None:
        raise _failure(f"There is no user {_line(text)!r}. {_ADVICE}")
    return person


def _get_session(text: str) -> Any:
    try:
        session = current_extension.find_any_session(uuid.UUID(text))
    except ValueError:
        session = None
    if session is None:
        raise _failure(f"There is no session {_line(text)!r}.")
    return session


def _days(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(days=number)


# -- Asking and telling ------------------------------------------------------------------------


def _ask(question: str, yes: bool) -> None:
    """Go on only if somebody says so."""
    if yes:
        return
    if not _is_terminal(sys.stdin):
        raise _failure("Nobody can be asked here. Pass --yes to do it without asking.")
    click.confirm(question, abort=True, err=True)


def _is_terminal(stream: IO[str]) -> bool:
    """Whether somebody sits at the other end."""
    return stream.isatty()


@contextmanager
def _progress(label: str, total: int) -> Iterator[Progress]:
    """Show a progress bar on stderr, where somebody looks at it."""
    if not _is_terminal(sys.stderr):
        yield lambda number: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def _tell(number: int, noun: str, verb: str) -> None:
    click.echo(f"{_counted(number, noun)} {verb}.")


def _tell_deleted(purged: Any) -> None:
    nouns = ("session", "device", "event")
    *most, last = (_counted(number, noun) for number, noun in zip(purged, nouns, strict=True))
    click.echo(f"{', '.join(most)} and {last} deleted.")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_json(value: Any) -> None:
    # ASCII: a control character that was stored is written as an escape.
    click.echo(json.dumps(value, indent=2))


def _print_table(
    headings: Iterable[str], rows: Iterable[Iterable[object]], *, longest: int = _CELL
) -> None:
    table = [[name.upper() for name in headings]]
    table += [[_cell(value, longest) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _cell(value: object, longest: int = _CELL) -> str:
    """Return a value for a person's eyes, without what could steer their terminal."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, (dict, list)):
        return json.dumps(value)[:longest] if value else ""
    return "" if value is None else clean(str(value), longest)


def _line(text: str) -> str:
    return clean(" ".join(text.split()), _LINE)
