"""The command line: what each command prints, asks, refuses, and where it goes."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import unicodedata
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
import time_machine
from click.testing import CliRunner, Result
from flask import Flask, request
from flask.testing import FlaskCliRunner
from flask_babel import Babel

from flask_device_sessions import DeviceSessions, StoreUnavailable, cli
from flask_device_sessions.testing import IPHONE, Browser, DeviceSessionFactory
from tests.engines import Engine
from tests.support import User, add_user, db, make_app, sign_in, who

ADA = "ada@example.com"
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
PAGE = Path(__file__).parents[1] / "docs/cli.md"
SURFACE = {
    "list",
    "show",
    "revoke",
    "revoke-user",
    "revoke-everyone",
    "events",
    "verify-audit",
    "token",
    "export",
    "erase",
    "purge",
    "stats",
    "check",
}
DESTROYERS = [
    ["revoke", "ID"],
    ["revoke-user", ADA],
    ["revoke-everyone"],
    ["erase", ADA],
    ["purge"],
]


def run(app: Flask, *arguments: str, **options: Any) -> Result:
    """Run a command of ours; stdout and stderr stay apart."""
    is_old = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters  # click 8.1
    runner = FlaskCliRunner(app, **({"mix_stderr": False} if is_old else {}))
    name = app.config.get("DEVICE_SESSIONS_CLI_NAME", "device-sessions")
    result = runner.invoke(args=[name, *arguments], **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def output_of(app: Flask, *arguments: str) -> str:
    """Return what a command that succeeds prints."""
    result = run(app, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def json_of(app: Flask, *arguments: str) -> Any:
    """Return the JSON that a reader prints."""
    return json.loads(output_of(app, *arguments, "--json"))


def failure_of(app: Flask, *arguments: str) -> str:
    """Return the one line that a command which fails writes to stderr."""
    result = run(app, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


@pytest.fixture
def signed_in(ada: User, laptop: Browser, phone: Browser, extension: DeviceSessions) -> list[str]:
    """Ada on two devices; gives the ids of her sessions, the newest first."""
    sign_in(laptop)
    sign_in(phone)
    return [str(session.id) for session in extension.sessions_of(ada)]


# -- The group ---------------------------------------------------------------------------------


def test_the_commands_are_those_of_the_surface(app: Flask) -> None:
    """Each is there under its name, with a line of help that is not cut."""
    page = output_of(app, "--help")

    listed = re.findall(r"^  ([a-z-]+)  +(.+)$", page.split("Commands:")[1], re.MULTILINE)
    assert {name for name, _ in listed} == SURFACE
    assert [line for _, line in listed if not line.endswith(".") or "..." in line] == []


def test_an_app_may_add_commands_to_the_group(app: Flask) -> None:
    """One of its own, or another one under a name of ours."""
    group: Any = app.cli.commands["device-sessions"]
    group.add_command(click.Command("mine", callback=lambda: click.echo("mine")))
    group.add_command(click.Command("stats", callback=lambda: click.echo("other")))

    assert output_of(app, "mine") == "mine\n"
    assert output_of(app, "stats") == "other\n"
    assert "mine" in output_of(app, "--help")


def test_the_group_has_the_name_that_the_app_gives_it(engine: Any) -> None:
    """``CLI_NAME`` is for an app that has such a group already."""
    app = make_app(DEVICE_SESSIONS_CLI_NAME="logins")

    assert "device-sessions" not in app.cli.commands
    assert "revoke-everyone" in output_of(app, "--help")


# -- Looking -----------------------------------------------------------------------------------


def test_list_shows_live_sessions(app: Flask, signed_in: list[str]) -> None:
    """Whose they are is said by what they sign in with, or by their primary key."""
    by_key = output_of(app, "list", f"id:{db.session.scalar(sa.select(User.id))}")
    text = output_of(app, "list", ADA)

    lines = text.splitlines()
    assert by_key == text
    assert [line.split()[0] for line in lines] == ["ID", *signed_in]
    assert "iPhone" in lines[1]
    assert "Linux PC, Firefox 140" in lines[2]
    assert "198.51.100.7" in lines[1]


def test_list_shows_names_that_people_gave(
    app: Flask, extension: DeviceSessions, ada: User, signed_in: list[str]
) -> None:
    """A device's own name, or a token's, wins over what the user agent says."""
    extension.rename_device(extension.devices_of(ada)[0], "Télé")
    DeviceSessionFactory(user=ada, token=True)
    db.session.commit()

    text = output_of(app, "list", ADA)

    assert "Télé" in text
    assert "iPhone" not in text
    assert re.search(r"token +CI ", text)


def test_list_needs_no_language(app: Flask, ada: User) -> None:
    """An app that chooses the language by the request has none here: the words are English."""
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["de", "en"]))
    sign_in(Browser(app, "nothing that is known"))

    assert "  Unknown device  " in output_of(app, "list", ADA)


def test_list_shows_ended_sessions(app: Flask, phone: Browser, signed_in: list[str]) -> None:
    """With ``--ended``, when and why they ended."""
    phone.post("/logout")

    text = output_of(app, "list", ADA, "--ended")

    assert text.splitlines()[0].endswith("REASON")
    assert text.splitlines()[1].startswith(signed_in[0])
    assert text.splitlines()[1].endswith("logout")


def test_list_as_json(app: Flask, signed_in: list[str]) -> None:
    """The columns, without any digest."""
    rows = json_of(app, "list", ADA)

    assert [row["id"] for row in rows] == signed_in
    assert rows[0]["last_active_at"].endswith("Z")
    assert not [name for row in rows for name in row if "digest" in name]


def test_show_tells_all_about_a_session(app: Flask, signed_in: list[str]) -> None:
    """In lines for people, or as JSON."""
    text = output_of(app, "show", signed_in[0])
    facts = json_of(app, "show", signed_in[0])

    assert re.search(rf"^id +{signed_in[0]}$", text, re.MULTILINE)
    assert re.search(r"^ended_at$", text, re.MULTILINE)
    assert "digest" not in text
    assert facts["id"] == signed_in[0]
    assert facts["ip_address"] == "198.51.100.7"


def test_events_of_everybody_and_of_one(app: Flask, signed_in: list[str]) -> None:
    """The newest first, as many as asked for."""
    add_user("bob@example.com")
    sign_in(Browser(app), "bob@example.com")

    everybody = json_of(app, "events")
    adas = json_of(app, "events", ADA, "--limit", "2")
    text = output_of(app, "events", ADA)

    assert len({event["user_id"] for event in everybody}) == 2
    assert everybody[0]["action"] in ("session_started", "suspicious_login")
    assert [event["sequence"] for event in adas] == [5, 4]
    assert text.count("session_started") == 2
    assert '"new_device": true' in text


def test_stats_count(app: Flask, signed_in: list[str], laptop: Browser) -> None:
    """Live and ended sessions, devices, events."""
    laptop.post("/logout")

    counts = json_of(app, "stats")
    text = output_of(app, "stats")

    assert counts.pop("oldest_event_at").endswith("Z")
    assert counts == {
        "people": 1,
        "browsers": 1,
        "tokens": 0,
        "ended": 1,
        "devices": 2,
        "events": 6,
    }
    assert re.search(r"^ended +1$", text, re.MULTILINE)


class TestWithoutAnIdleLimit:
    @pytest.fixture
    def config(self) -> dict[str, Any]:
        """Sessions may rest as long as they like."""
        return {"DEVICE_SESSIONS_IDLE_TIMEOUT": None, "DEVICE_SESSIONS_RETENTION": None}

    def test_stats_count_who_rests(self, app: Flask, ada: User) -> None:
        """A session without activity for a year is live."""
        long_ago = datetime.now(timezone.utc) - timedelta(days=365)
        DeviceSessionFactory(user=ada, last_active_at=long_ago, expires_at=None)
        db.session.commit()

        assert json_of(app, "stats")["browsers"] == 1

    def test_purge_without_an_age_says_how_to_give_one(self, app: Flask, ada: User) -> None:
        """RETENTION, or --days."""
        assert "--days" in failure_of(app, "purge", "--yes")
        assert output_of(app, "purge", "--yes", "--days", "1").endswith("0 events deleted.\n")


# -- The audit trail ---------------------------------------------------------------------------


def test_a_whole_trail_passes(app: Flask, signed_in: list[str]) -> None:
    """In words and as JSON, of everybody or of one."""
    facts = json_of(app, "verify-audit", "--user", ADA)

    assert output_of(app, "verify-audit") == "The audit trail is whole: 5 events checked.\n"
    assert facts == {
        "is_whole": True,
        "events_checked": 5,
        "users_checked": 1,
        "found": 0,
        "findings": [],
    }


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_damaged_trail_fails(
    app: Flask, extension: DeviceSessions, signed_in: list[str], tmp_path: Path, as_json: list[str]
) -> None:
    """What is wrong goes to stdout, and no anchor is made of it (ASVS V16.4.2)."""
    event = extension.event_model
    db.session.execute(sa.update(event).where(event.sequence == 2).values(action="ip_changed"))
    db.session.commit()
    anchor = tmp_path / "anchor.json"

    result = run(app, "verify-audit", "--export-anchor", str(anchor), *as_json)

    assert result.exit_code == 1
    assert result.stderr == "Error: The audit trail is not whole: 1 finding.\n"
    assert "changed" in result.stdout
    assert not anchor.exists()


def test_an_anchor_shows_what_was_cut_off(
    app: Flask, extension: DeviceSessions, signed_in: list[str], tmp_path: Path
) -> None:
    """Exported today, it misses tomorrow what is gone, for everybody and for one."""
    anchor = str(tmp_path / "anchor.json")
    output_of(app, "verify-audit", "--export-anchor", anchor)
    event = extension.event_model
    db.session.execute(sa.delete(event).where(event.sequence == 5))
    db.session.commit()

    results = [
        run(app, "verify-audit", "--anchor", anchor, *more) for more in ([], ["--user", ADA])
    ]

    assert [result.exit_code for result in results] == [1, 1]
    assert "truncated: The event that the anchor names" in results[0].stdout
    assert output_of(app, "verify-audit")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"version": 1}', b"\xff"])
@pytest.mark.parametrize("more", [[], ["--user", ADA]])
def test_an_anchor_that_is_none_is_refused(
    app: Flask, ada: User, tmp_path: Path, content: Any, more: list[str]
) -> None:
    """A file that is missing, or holds something else, is one line on stderr."""
    anchor = tmp_path / "anchor.json"
    if content is not None:
        anchor.write_bytes(content if isinstance(content, bytes) else content.encode())

    assert "anchor" in failure_of(app, "verify-audit", "--anchor", str(anchor), *more)


def test_an_anchor_that_cannot_be_written_is_said(app: Flask, ada: User, tmp_path: Path) -> None:
    """The folder is not there."""
    path = str(tmp_path / "missing" / "anchor.json")

    assert "missing" in failure_of(app, "verify-audit", "--export-anchor", path)


# -- Ending ------------------------------------------------------------------------------------


def test_revoke_ends_one_session(
    app: Flask, laptop: Browser, phone: Browser, signed_in: list[str]
) -> None:
    """At its next request the device is out, and the reason is the operator (ASVS V7.4.5)."""
    said = [output_of(app, "revoke", signed_in[0], "--yes") for _ in range(2)]

    assert said == ["1 session ended.\n", "0 sessions ended.\n"]
    assert (who(phone), who(laptop)) == (None, ADA)
    assert json_of(app, "show", signed_in[0])["end_reason"] == "admin"


def test_revoke_user_ends_all_of_one_person(
    app: Flask, laptop: Browser, phone: Browser, signed_in: list[str]
) -> None:
    """Everybody else stays (ASVS V7.4.5)."""
    add_user("bob@example.com")
    bobs = Browser(app)
    sign_in(bobs, "bob@example.com")

    said = output_of(app, "revoke-user", ADA, "--yes")

    assert said == "2 sessions ended.\n"
    assert (who(laptop), who(phone), who(bobs)) == (None, None, "bob@example.com")
    assert {row["end_reason"] for row in json_of(app, "list", ADA, "--ended")} == {"admin"}


def test_revoke_everyone_ends_all(
    app: Flask, laptop: Browser, phone: Browser, signed_in: list[str]
) -> None:
    """Of all people, at once (ASVS V7.4.5)."""
    add_user("bob@example.com")
    bobs = Browser(app)
    sign_in(bobs, "bob@example.com")

    said = output_of(app, "revoke-everyone", "--yes")

    assert said == "3 sessions ended.\n"
    assert [who(browser) for browser in (laptop, phone, bobs)] == [None] * 3


@pytest.mark.parametrize("reason", ["", "because"])
def test_revoke_all_takes_known_reasons_only(
    extension: DeviceSessions, ada: User, reason: str
) -> None:
    """A reason is one that the pages have a sentence for."""
    with pytest.raises(ValueError, match="reason must be one of"):
        extension.revoke_all(ada, reason=reason)


# -- Asking ------------------------------------------------------------------------------------


def _with_id(arguments: list[str], signed_in: list[str]) -> list[str]:
    return [signed_in[0] if argument == "ID" else argument for argument in arguments]


@pytest.mark.parametrize("arguments", DESTROYERS, ids=" ".join)
def test_without_a_terminal_yes_must_be_passed(
    app: Flask, phone: Browser, signed_in: list[str], arguments: list[str]
) -> None:
    """A script that forgot it destroys nothing, and hangs nowhere."""
    said = failure_of(app, *_with_id(arguments, signed_in))

    assert "--yes" in said
    assert who(phone) == ADA


@pytest.mark.parametrize("arguments", DESTROYERS, ids=" ".join)
@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal_somebody_is_asked(
    app: Flask,
    signed_in: list[str],
    arguments: list[str],
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The question is on stderr; no is exit status 1."""
    monkeypatch.setattr(cli, "_is_terminal", lambda stream: True)

    result = run(app, *_with_id(arguments, signed_in), input=f"{answer}\n")

    assert "? [y/N]" in result.stderr
    assert result.exit_code == (0 if answer == "y" else 1)
    # Click 8.1 shows there what was typed, as a terminal would.
    assert bool(result.stdout.strip().removeprefix(answer)) is (answer == "y")


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        (["verify-audit"], "Checking events"),
        (["revoke-everyone", "--yes"], "Ending sessions"),
        (["purge", "--yes", "--days", "0"], "Deleting"),
    ],
)
def test_long_work_shows_its_progress(
    app: Flask,
    signed_in: list[str],
    arguments: list[str],
    label: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On stderr, where somebody looks at it."""
    monkeypatch.setattr(cli, "_is_terminal", lambda stream: True)

    result = run(app, *arguments)

    assert result.exit_code == 0
    assert label in result.stderr
    assert label not in result.stdout


# -- Tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "span"), [([], 90), (["--days", "7"], 7)])
def test_token_prints_the_token_alone(app: Flask, ada: User, days: list[str], span: int) -> None:
    """So that a script can take it from stdout; it signs its person in."""
    text = output_of(app, "token", ADA, "--name", "CI", "--scope", "a", "--scope", "b", *days)

    (row,) = json_of(app, "list", ADA)
    life = datetime.fromisoformat(row["expires_at"].replace("Z", "+00:00")) - datetime.now(
        timezone.utc
    )
    answer = app.test_client().get("/whoami", headers={"Authorization": f"Bearer {text.strip()}"})
    assert answer.json is not None
    assert answer.json["user"] == ADA
    assert (row["kind"], row["name"], row["scopes"]) == ("token", "CI", ["a", "b"])
    assert timedelta(days=span - 1) < life <= timedelta(days=span)


@pytest.mark.parametrize("wrong", [["--name", " "], ["--name", "CI", "--scope", "a b"]])
def test_a_token_that_cannot_be_is_said(app: Flask, ada: User, wrong: list[str]) -> None:
    """Without a name, or with a scope that is none."""
    assert failure_of(app, "token", ADA, *wrong)


# -- Keeping, and not keeping ------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_export_prints_json(app: Flask, signed_in: list[str], as_json: list[str]) -> None:
    """With or without asking for it."""
    exported = json.loads(output_of(app, "export", ADA, *as_json))

    assert len(exported["sessions"]) == 2


def test_erase_deletes_all_of_a_person(app: Flask, phone: Browser, signed_in: list[str]) -> None:
    """They are signed out, and nothing is left to list."""
    said = output_of(app, "erase", ADA, "--yes")

    assert said == "2 sessions, 2 devices and 5 events deleted.\n"
    assert who(phone) is None
    assert [event["action"] for event in json_of(app, "events")] == ["user_erased"]


def test_purge_deletes_what_is_old(app: Flask, phone: Browser, signed_in: list[str]) -> None:
    """``--days`` is instead of RETENTION."""
    phone.post("/logout")

    default = output_of(app, "purge", "--yes")
    all_of_it = output_of(app, "purge", "--yes", "--days", "0", "--batch-size", "1")

    assert default == "0 sessions, 0 devices and 0 events deleted.\n"
    assert all_of_it == "1 session, 1 device and 6 events deleted.\n"


# -- Failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["bob@example.com", "id:999", "id:x", "", "\udcff\x1b[31m\nx"])
@pytest.mark.parametrize(
    "command", [["list"], ["events"], ["export"], ["erase", "--yes"], ["revoke-user", "--yes"]]
)
def test_an_unknown_user_is_said(app: Flask, ada: User, command: list[str], user: str) -> None:
    """With how to name one; what was typed is shown without its control characters."""
    said = failure_of(app, *command, "--", user)

    assert said.startswith("There is no user '")
    assert said.isprintable()


def test_a_key_larger_than_any_is_a_failure_like_others(app: Flask, ada: User) -> None:
    """One line, whether the driver or the database refuses it."""
    assert failure_of(app, "list", f"id:{10**30}")


@pytest.mark.parametrize("text", ["x", str(uuid.UUID(int=5)), "", "\udcff"])
@pytest.mark.parametrize("command", [["show"], ["revoke", "--yes"]])
def test_an_unknown_session_is_said(app: Flask, ada: User, command: list[str], text: str) -> None:
    """A malformed id is like an unknown one."""
    assert failure_of(app, *command, "--", text).startswith("There is no session '")


@pytest.mark.parametrize(
    "command",
    [["list", ADA], ["show", str(uuid.UUID(int=5))], ["events"], ["stats"], ["verify-audit"]]
    + [["revoke-everyone", "--yes"], ["export", ADA], ["purge", "--yes"], ["erase", ADA, "--yes"]],
    ids=lambda command: command[0],
)
def test_missing_tables_are_said(tmp_path: Path, command: list[str]) -> None:
    """One line that names the migration, whichever statement met it first."""
    app = make_app(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    with app.app_context():
        User.__table__.create(db.engine)
        add_user()

    assert "`flask db upgrade`" in failure_of(app, *command)


def test_a_database_that_is_away_is_said(tmp_path: Path) -> None:
    """One line, without a traceback."""
    app = make_app(f"sqlite:///{tmp_path / 'missing' / 'suite.sqlite'}")

    assert failure_of(app, "stats").startswith("The database did not do its part: ")


def test_an_error_of_several_lines_becomes_one(
    app: Flask, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers like to tell stories."""

    def fail(self: Any) -> None:
        raise StoreUnavailable("one\ntwo\x1b[31m")

    monkeypatch.setattr(DeviceSessions, "count", fail)

    assert failure_of(app, "stats") == "one two[31m"


def test_stored_control_characters_never_reach_the_terminal(
    app: Flask, extension: DeviceSessions, signed_in: list[str], engine: Engine
) -> None:
    """Neither in tables nor in JSON, whatever somebody wrote into the rows."""
    evil = "a\x1b]0;b\x07\x7fc\nd"
    if not engine.variant.endswith("latin1"):  # which cannot hold these
        evil += "\x9b31m\u202e"
    models = extension._state.store.models
    db.session.execute(sa.update(models.session).values(user_agent=evil, city=evil))
    db.session.execute(sa.update(models.device).values(name=evil))
    db.session.execute(sa.update(models.event).values(action=evil, detail={evil: evil}))
    db.session.commit()
    readers = [["list", ADA], ["show", signed_in[0]], ["events"], ["export", ADA], ["stats"]]

    texts = [output_of(app, *reader) for reader in readers]
    texts += [output_of(app, *reader, "--json") for reader in readers]

    for text in texts:
        raw = {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}
        assert raw == set()


# -- Checking ----------------------------------------------------------------------------------


def test_check_fails_when_there_is_a_problem(app: Flask, ada: User) -> None:
    """The suite's app sends its cookie over plain HTTP."""
    result = run(app, "check")
    as_json = run(app, "check", "--json")

    assert result.exit_code == as_json.exit_code == 1
    assert re.search(r"^cookie +problem +Browsers send", result.stdout, re.MULTILINE)
    assert result.stderr == "Error: 1 of 9 checks found a problem.\n"
    assert {"name", "level", "sentence"} == set(json.loads(as_json.stdout)[0])


# -- The documentation -------------------------------------------------------------------------


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The app of the page: Ada on a laptop and a phone, one noon."""
    monkeypatch.chdir(tmp_path)
    app = make_app(
        f"sqlite:///{tmp_path / 'story.sqlite'}",
        SECRET_KEY="0f6b7a92c4d83e15" * 4,
        DEVICE_SESSIONS_COOKIE_SECURE=True,
    )
    with time_machine.travel(NOON, tick=False) as clock:
        with app.app_context():
            db.create_all()
            add_user()
        sign_in(Browser(app))
        clock.shift(timedelta(minutes=10))
        sign_in(Browser(app, IPHONE))
        clock.shift(timedelta(minutes=10))
        yield app


def _shown_on_the_page() -> list[tuple[list[str], str]]:
    """Return the commands that the page runs, each with the output it shows."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    runs = re.split(r"^\$ flask device-sessions ", "".join(blocks), flags=re.MULTILINE)[1:]
    pairs = [run.partition("\n") for run in runs]
    return [(shlex.split(command), output) for command, _, output in pairs]


def test_the_page_shows_what_the_commands_print(story: Flask) -> None:
    """Each command of docs/cli.md prints what stands there, but for the ids."""
    ids: dict[str, str] = {}
    shown, printed = [], []

    for command, output in _shown_on_the_page():
        arguments = [ids.get(argument, argument) for argument in command]
        result = run(story, *arguments)
        actual = result.stdout + result.stderr
        pattern = r"[0-9a-f]{8}-[0-9a-f-]{27}"
        found = re.findall(pattern, output), re.findall(pattern, actual)
        ids |= zip(*found, strict=True)
        shown.append((command, re.split(pattern, output), [ids[one] for one in found[0]]))
        printed.append((command, re.split(pattern, actual), found[1]))

    assert printed == shown
    assert {command[0] for command, _, _ in shown} == SURFACE - {"token", "export", "revoke-user"}


def test_an_anchor_is_of_everybody(app: Flask, ada: User, tmp_path: Path) -> None:
    """One of a single person would, next time, miss nothing of the others (ASVS V16.4.2)."""
    file = tmp_path / "anchor.json"

    result = run(app, "verify-audit", "--user", ada.email, "--export-anchor", str(file))

    assert result.exit_code == 1
    assert "leave out --user" in result.stderr
    assert not file.exists()
