"""The bugs: each a small change of one file that a tired reviewer could let through."""

from __future__ import annotations

from typing import NamedTuple

STEPS = "tests/databases/test_interleavings.py"
PARALLEL = "tests/databases/test_parallel.py"
REPLAY = "tests/flows/test_replay.py"
MACHINE = "tests/flows/test_machine.py"
STEP_UP = "tests/flows/test_step_up.py"
TWO_DEVICES = "tests/flows/test_two_devices.py"


class Bug(NamedTuple):
    """One bug.

    Attributes:
        name: what it is called in the table.
        sentence: what goes wrong because of it.
        file: the file of the package that it is in.
        old: the text there, which must occur once.
        new: what takes its place.
        tests: test files, one of which must fail.
    """

    name: str
    sentence: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


BUGS = (
    # -- Sessions that should be dead --------------------------------------------------------
    Bug(
        "merge-touch",
        "A touch writes the row as it was read, and brings a session back that was ended since.",
        "store.py",
        "written = connection.execute(sa.update(table).where(live).values(**values))",
        "written = connection.execute(sa.update(table).where(table.c.id == session_id)"
        ".values(**values, ended_at=None, end_reason=None))",
        (STEPS,),
    ),
    Bug(
        "touch-without-guard",
        "A touch changes the times of a session that has ended.",
        "store.py",
        "table.c.id == session_id, table.c.ended_at.is_(None), condition)",
        "table.c.id == session_id, condition)",
        ("tests/test_store.py", "tests/test_extension.py"),
    ),
    Bug(
        "touch-moves-time-back",
        "A slow request overwrites what a later one has noted.",
        "store.py",
        "is_due = self.models.session.__table__.c.last_active_at < due",
        "is_due = sa.true()",
        ("tests/test_store.py", "tests/test_extension.py"),
    ),
    Bug(
        "touch-extends-life",
        "Activity moves the absolute limit, so that a session in use never ends.",
        "lifecycle.py",
        'values = {"last_ip_address": self.stored_address(address)}\n',
        'values = {"last_ip_address": self.stored_address(address), '
        '"expires_at": self._end_of_life(now, None)}\n',
        (REPLAY, MACHINE),
    ),
    Bug(
        "ended-is-not-checked",
        "The credential of an ended session is good.",
        "lifecycle.py",
        "        if found.ended_at is not None:\n            return Refused",
        "        if False:\n            return Refused",
        (REPLAY,),
    ),
    Bug(
        "idle-is-not-checked",
        "A session without activity lives on.",
        "lifecycle.py",
        'return "idle" if self._settings.is_idle(session.last_active_at, now) else None',
        "return None",
        (REPLAY,),
    ),
    Bug(
        "age-is-not-checked",
        "The absolute limit is in the row and nowhere else.",
        "lifecycle.py",
        "if session.expires_at is not None and now >= session.expires_at:",
        "if False:",
        (REPLAY,),
    ),
    Bug(
        "age-is-off-by-one",
        "A session lives one moment longer than its limit.",
        "lifecycle.py",
        "and now >= session.expires_at:",
        "and now > session.expires_at:",
        (REPLAY,),
    ),
    Bug(
        "disabled-is-not-checked",
        "Who was disabled works on until the session ends by itself.",
        "lifecycle.py",
        "            or self._user_is_out(found)\n",
        "",
        (REPLAY,),
    ),
    Bug(
        "number-of-the-deleted",
        "On SQLite the next person gets the number, and the sessions, of one who was deleted.",
        "store.py",
        '(("before_delete", _erase), ("after_insert", _erase_leftovers))',
        '(("before_delete", _erase),)',
        (REPLAY,),
    ),
    Bug(
        "revoke-everyone-stops",
        "Everyone is signed out up to the first one who was deleted.",
        "verbs/managing.py",
        "        except NoSuchUser:\n            return 0  # deleted, and",
        "        except ZeroDivisionError:\n            return 0  # deleted, and",
        ("tests/test_extension.py",),
    ),
    Bug(
        "ending-twice",
        "A session that has ended is ended again, with another reason and another event.",
        "store.py",
        ".where(session.user_id == user_id, session.ended_at.is_(None), *conditions)",
        ".where(session.user_id == user_id, *conditions)",
        (MACHINE, "tests/test_extension.py"),
    ),
    # -- Secrets ---------------------------------------------------------------------------------
    Bug(
        "digest-by-its-beginning",
        "Any secret whose digest begins alike is good.",
        "tokens.py",
        "return hmac.compare_digest(self.digest, digest)",
        "return self.digest[:2] == digest[:2]",
        ("tests/test_tokens.py", "tests/test_transport.py"),
    ),
    Bug(
        "half-the-bits",
        "A secret has 64 random bits.",
        "tokens.py",
        "_SECRET_BYTES = SECRET_BITS // 8",
        "_SECRET_BYTES = SECRET_BITS // 16",
        ("tests/test_tokens.py",),
    ),
    Bug(
        "secret-in-repr",
        "A log line with a credential object in it holds the secret.",
        "tokens.py",
        "secret: bytes = field(repr=False)",
        "secret: bytes = field()",
        ("tests/test_tokens.py",),
    ),
    Bug(
        "confirm-keeps-the-old-secret",
        "After the password was confirmed, the secret from before it still works.",
        "lifecycle.py",
        "_renewed(token, now, previous_digest=None, **freshness)",
        "_renewed(token, now, previous_digest=session.token_digest, **freshness)",
        (STEP_UP, STEPS),
    ),
    Bug(
        "password-change-keeps-the-secret",
        "After a password change the session goes on under the secret that may have leaked.",
        "lifecycle.py",
        "token = None if current is None else self.rotate(current, client, now)",
        "token = None",
        (STEP_UP, "tests/test_extension.py"),
    ),
    Bug(
        "password-change-ends-nothing",
        "After a password change the intruder is still signed in.",
        "lifecycle.py",
        'ended = self.end(user_id, "password_changed", client, now, *others)',
        "ended: list[Any] = []",
        (STEP_UP,),
    ),
    Bug(
        "reused-secret-is-fine",
        "With rotation on a clock, a copied secret that was replaced is refused but not a theft.",
        "lifecycle.py",
        'return "reused" if is_previous and found.previous_ended_at is not None else None',
        "return None",
        ("tests/flows/test_rotation.py",),
    ),
    Bug(
        "one-salt-for-all",
        "What is signed for one purpose is accepted for another.",
        "signing.py",
        'return f"flask-device-sessions.{purpose.value}"',
        'return "flask-device-sessions"',
        ("tests/test_signing.py", "tests/test_transport.py"),
    ),
    Bug(
        "timed-cookie",
        "The cookie's signature carries the time, so that skewed clocks sign people out.",
        "signing.py",
        'return encode(hmac.digest(key, value, "sha256"))',
        'return encode(hmac.digest(key, value + str(datetime.now().hour).encode(), "sha256"))',
        ("tests/test_signing.py", "tests/test_transport.py"),
    ),
    Bug(
        "signs-with-the-oldest-key",
        "After a rotation of SECRET_KEY the old key goes on signing.",
        "signing.py",
        "self._keys: list[Any] = [*reversed(fallbacks), secret_key]",
        "self._keys: list[Any] = [secret_key, *fallbacks]",
        ("tests/test_signing.py", "tests/test_transport.py"),
    ),
    # -- The limit ---------------------------------------------------------------------------------
    Bug(
        "count-then-insert",
        "Nobody waits for anybody: parallel sign-ins all count first, and all fit.",
        "store.py",
        "            statement = sa.select(self.user_key).where(is_person).with_for_update()\n"
        "        self.execute(statement)",
        "            pass",
        (STEPS, PARALLEL),
    ),
    Bug(
        "limit-is-off-by-one",
        "One session more than the limit.",
        "lifecycle.py",
        "if limit is None or len(staying) < limit:",
        "if limit is None or len(staying) <= limit:",
        (PARALLEL, MACHINE),
    ),
    Bug(
        "evicts-the-one-in-use",
        "At the limit, the session that is in use gives way.",
        "lifecycle.py",
        "staying.sort(key=lambda session: session.last_active_at, reverse=True)",
        "staying.sort(key=lambda session: session.last_active_at)",
        (MACHINE,),
    ),
    Bug(
        "account-switch-leaves-a-session",
        "Whose browser somebody else signs in with stays signed in, without a cookie.",
        "verbs/signing_in.py",
        "if previous[1] is not None and previous[0] != visit.user_id:",
        "if False:",
        ("tests/test_extension.py", MACHINE),
    ),
    Bug(
        "revoke-others-ends-this-one",
        '"Sign out all other devices" signs this one out, too.',
        "verbs/managing.py",
        "others = [] if current_id is None else [self.session_model.id != current_id]",
        "others: list[Any] = []",
        (TWO_DEVICES,),
    ),
    # -- What leaves when ------------------------------------------------------------------------
    Bug(
        "cookie-before-commit",
        "The cookie is sent though the row was rolled back.",
        "verbs/departures.py",
        "self._after_commit(lambda: visit.send(**cookies))",
        "visit.send(**cookies)",
        ("tests/test_extension.py",),
    ),
    Bug(
        "signal-before-commit",
        "Listeners hear of an end that may never be.",
        "verbs/departures.py",
        "self._after_commit(partial(self._tell_end, session, session.id, reason))",
        "self._tell_end(session, session.id, reason)",
        ("tests/test_extension.py",),
    ),
    Bug(
        "rollback-runs-the-effects",
        "What waited for the commit leaves after a rollback, too.",
        "transactions.py",
        "    if ledger.is_committed:\n",
        "    if True:\n",
        ("tests/test_transactions.py",),
    ),
    Bug(
        "fault-is-anonymous",
        "With the database down, people are taken for strangers and lose their cookie.",
        "verbs/arrivals.py",
        "            visit.fault = fault\n",
        "",
        ("tests/test_extension.py", "tests/test_web_views.py"),
    ),
    # -- Cookies and headers ---------------------------------------------------------------------
    Bug(
        "no-httponly",
        "Scripts can read the cookie.",
        "transport.py",
        '"httponly": True',
        '"httponly": False',
        ("tests/test_transport.py",),
    ),
    Bug(
        "deletes-another-cookie",
        "The deleting cookie lacks the path and the flags, and deletes nothing.",
        "transport.py",
        "response.delete_cookie(self.cookie_name(app), **self._attributes(app))",
        "response.delete_cookie(self.cookie_name(app))",
        ("tests/test_transport.py",),
    ),
    Bug(
        "no-vary",
        "A cache gives one person's page to another.",
        "transport.py",
        '    if response.headers.getlist("Vary"):\n',
        '    if True:\n        return\n    if response.headers.getlist("Vary"):\n',
        ("tests/test_transport.py",),
    ),
    Bug(
        "cookie-may-be-stored",
        "A cache keeps an answer that sets a cookie.",
        "transport.py",
        '        response.headers["Cache-Control"] = "no-store"\n',
        "",
        ("tests/test_transport.py",),
    ),
    Bug(
        "believes-x-forwarded-for",
        "Anybody names their own address.",
        "transport.py",
        "            request.remote_addr,\n",
        '            request.headers.get("X-Forwarded-For", request.remote_addr),\n',
        ("tests/test_transport.py",),
    ),
    Bug(
        "inline-scripts",
        "The pages' policy allows scripts in the page.",
        "web/pages.py",
        "\"script-src 'self'\"",
        "\"script-src 'self' 'unsafe-inline'\"",
        ("tests/test_web_pages.py",),
    ),
    Bug(
        "flask-login-cookie-decides",
        "What login_user left in Flask's session stays there, and can be replayed.",
        "login.py",
        "left = {name: flask_session.pop(name, None) for name in _LEFTOVERS}",
        "left = {name: flask_session.get(name) for name in _LEFTOVERS}",
        ("tests/test_login.py", "tests/flows/test_adoption.py"),
    ),
    # -- Pages -----------------------------------------------------------------------------------
    Bug(
        "next-begins-with-a-slash",
        "//evil.example begins with a slash.",
        "redirects.py",
        "return target if re.fullmatch(_PATH, target) else None",
        'return target if target.startswith("/") else None',
        ("tests/test_redirects.py",),
    ),
    Bug(
        "next-with-a-backslash",
        "Browsers read a backslash as a slash.",
        "redirects.py",
        r'r"/(?![/\\])[^\x00-\x20\x7f-\x9f\\\ud800-\udfff]*"',
        r'r"/(?![/])[^\x00-\x20\x7f-\x9f\ud800-\udfff]*"',
        ("tests/test_redirects_fuzz.py",),
    ),
    Bug(
        "logout-without-csrf",
        "Another site signs people out.",
        "web/views.py",
        '"""End the current session."""\n    if not forms.is_genuine():',
        '"""End the current session."""\n    if False:',
        ("tests/flows/test_bad_input.py", "tests/test_web_views.py"),
    ),
    Bug(
        "revoke-without-csrf",
        "Another site ends people's sessions.",
        "web/views.py",
        '(ASVS 5.0 7.5.2)."""\n    if not forms.is_genuine():',
        '(ASVS 5.0 7.5.2)."""\n    if False:',
        ("tests/flows/test_bad_input.py",),
    ),
    Bug(
        "ids-of-others",
        "Who knows the id of another person's session or device can end or rename it.",
        "store.py",
        ".where(model.id == row_id, model.user_id == user_id)",
        ".where(model.id == row_id)",
        ("tests/test_web_views.py",),
    ),
    Bug(
        "action-of-another-session",
        "An intruder's action is carried out by the password of its victim.",
        "web/stepup.py",
        'if facts["bound"] != _binding():',
        "if False:",
        (STEP_UP,),
    ),
    Bug(
        "always-fresh",
        "Nothing ever asks for the password again.",
        "verbs/departures.py",
        "        return visit.now - visit.authenticated_at < max_age",
        "        return True",
        (STEP_UP,),
    ),
    # -- What is made once somebody asks ---------------------------------------------------------
    Bug(
        "old-row-over-new-object",
        "Asked late, the session shows what the row said before the view committed a change.",
        "store.py",
        "        if held is not None:\n            return held\n",
        "        if held is not None:\n            return self.refresh(session, row) or held\n",
        ("tests/test_store.py",),
    ),
    Bug(
        "past-the-listeners",
        "Query counters, tracing and row-level security do not see the SELECT of each request.",
        "prepared.py",
        "    return not (is_heard or",
        "    return True or not (is_heard or",
        ("tests/test_prepared.py",),
    ),
    Bug(
        "flask-session-is-lost",
        "What an app keeps in Flask's session is gone at the next request.",
        "cookies.py",
        'return sent(request, app.config["SESSION_COOKIE_NAME"]) is not None',
        "return False",
        ("tests/test_cookies.py",),
    ),
    # -- Who is calling --------------------------------------------------------------------------
    Bug(
        "static-files-vary",
        "Shared caches keep the style sheet once for each person.",
        "verbs/arrivals.py",
        "if response.is_streamed and not _is_static(caller.endpoint):",
        "if response.is_streamed:",
        ("tests/test_web_pages.py",),
    ),
    Bug(
        "who-asks-last-leaves-no-vary",
        "A hook that asks after ours makes an answer for one that caches give to all.",
        "extension.py",
        "after.insert(0, lambda response: self._after_request(app, state, response))",
        "after.append(lambda response: self._after_request(app, state, response))",
        ("tests/test_transport.py",),
    ),
    Bug(
        "a-stranger-when-nobody-can-tell",
        "The id of who is signed in is None while the database is away.",
        "proxies.py",
        "bool(visit.session)  # answers 503",
        "pass",
        ("tests/test_web_views.py",),
    ),
    Bug(
        "commands-of-the-app-are-lost",
        "What an app adds to the command group is not found.",
        "extension.py",
        "self.commands = {**COMMANDS, **self.commands}",
        "self.commands = {**COMMANDS}",
        ("tests/test_cli.py",),
    ),
    # -- Passwords -------------------------------------------------------------------------------
    Bug(
        "no-hash-for-the-unknown",
        "The answer for an account that does not exist comes sooner.",
        "passwords.py",
        "        _checker(somebody)(password)\n",
        "        pass\n",
        ("tests/test_passwords.py", "tests/test_extension.py"),
    ),
    Bug(
        "hashes-a-megabyte",
        "A password of any length is hashed.",
        "passwords.py",
        "return len(password.encode()) <= PASSWORD_BYTES",
        'return password.encode() != b""',
        ("tests/test_passwords.py",),
    ),
    Bug(
        "disabled-may-sign-in",
        "A disabled account signs in with its password.",
        "accounts.py",
        "        user, is_right = self._check(name, password, finder)\n"
        "        reason = _why_not(user, is_right)\n",
        "        user, is_right = self._check(name, password, finder)\n"
        "        reason = None if is_right else _why_not(user, is_right)\n",
        ("tests/test_accounts.py", "tests/test_extension.py"),
    ),
    Bug(
        "success-clears-nothing",
        "Somebody who mistyped a few times and then got in is locked out all the same.",
        "accounts.py",
        "            self._throttle.clear(name, client.browser_digest, network)\n"
        "            return user\n",
        "            return user\n",
        ("tests/test_accounts.py",),
    ),
    # -- The trail -------------------------------------------------------------------------------
    Bug(
        "chain-without-a-key",
        "Who can write to the database can write the trail anew.",
        "chain.py",
        'return hmac.digest(key, text.encode("ascii"), "sha256").hex()',
        'return __import__("hashlib").sha256(text.encode("ascii")).hexdigest()',
        ("tests/test_chain.py",),
    ),
    Bug(
        "chain-of-single-links",
        "An event does not name the one before it: events can be removed and reordered.",
        "chain.py",
        "content = [_FORMAT, previous, *map(_text, plain), _as_kept(detail)]",
        "content = [_FORMAT, *map(_text, plain), _as_kept(detail)]",
        ("tests/test_chain.py",),
    ),
    Bug(
        "trail-without-the-previous",
        "Events are written as if each were the first.",
        "audit.py",
        '"" if user_id is None else mac, row)',
        '"", row)',
        ("tests/test_audit.py", MACHINE),
    ),
    Bug(
        "end-without-event",
        "A session ends and the trail says nothing.",
        "lifecycle.py",
        "            self._store.end(dict.fromkeys(live, reason), now)\n"
        "            entries = [_ended(session, reason) for session in live]\n",
        "            self._store.end(dict.fromkeys(live, reason), now)\n"
        "            entries = [_ended(session, reason) for session in live[:1]]\n",
        (MACHINE, "tests/test_extension.py"),
    ),
    # -- What is watched -------------------------------------------------------------------------
    Bug(
        "counted-after-the-hash",
        "Parallel guesses pass while the first is being hashed.",
        "accounts.py",
        "        network = self._admit(name, client, now, finder)\n"
        "        user, is_right = self._check(name, password, finder)\n",
        "        user, is_right = self._check(name, password, finder)\n"
        "        network = self._admit(name, client, now, finder)\n",
        ("tests/test_accounts.py",),
    ),
    Bug(
        "failures-of-nobody-are-free",
        "An unknown account costs fewer statements than a known one.",
        "accounts.py",
        "        unit = partial(self._rules.note, self._id_of(user), entry, client, now)\n",
        "        if user is None:\n            return\n"
        "        unit = partial(self._rules.note, self._id_of(user), entry, client, now)\n",
        ("tests/test_extension.py", "tests/test_accounts.py"),
    ),
    Bug(
        "a-success-clears-the-network",
        "An account of his own gives an attacker any number of guesses.",
        "throttle.py",
        "        self._here.give_back(places)\n",
        "        self._here.clear(places)\n",
        ("tests/test_throttle.py", "tests/test_accounts.py"),
    ),
    Bug(
        "an-old-secret-lives",
        "With ROTATE_INTERVAL, a copy of the old secret works beside the new one.",
        "lifecycle.py",
        'return "reused" if is_previous and found.previous_ended_at is not None else None',
        "return None",
        ("tests/flows/test_rotation.py",),
    ),
    Bug(
        "moves-go-unnoticed",
        "A cookie that is carried to another network is nothing new.",
        "lifecycle.py",
        'return self._settings.ip_change_policy != "ignore" and not same_network(old, new)',
        "return False",
        ("tests/flows/test_networks.py",),
    ),
    Bug(
        "a-link-that-acts",
        "A mail scanner that opens the links signs people out.",
        "web/views.py",
        '    if request.method != "POST":\n        return page("not_me"',
        '    if request.method == "HEAD":\n        return page("not_me"',
        ("tests/flows/test_not_me.py",),
    ),
    Bug(
        "a-purge-without-a-mark",
        "After a purge nobody can tell it from a forgery.",
        "housekeeping.py",
        "        self._trail.record(user_id, [entry], Client(), None, now)\n        return True\n",
        "        return True\n",
        ("tests/test_retention.py",),
    ),
    Bug(
        "a-token-without-its-checksum",
        "A mistyped token costs SQL.",
        "tokens.py",
        "if checksum != _checksum(signed) or",
        "if",
        ("tests/test_tokens.py",),
    ),
    # -- What breaks -------------------------------------------------------------------------------
    Bug(
        "a-replaced-file-goes-on",
        "A connection goes on with a file that is not there any more.",
        "files.py",
        "if present is not None and present != known:",
        "if present is None:",
        ("tests/faults/test_sqlite.py",),
    ),
    Bug(
        "the-default-database",
        "The lock and the trail are looked for in the app's default database.",
        "store.py",
        "self.session.execute(statement, *values, bind_arguments=where, **options)",
        "self.session.execute(statement, *values, **options)",
        ("tests/databases/test_binds.py",),
    ),
    Bug(
        "tries-without-end",
        "Somebody waits four times as long for a lock that is not given.",
        "store.py",
        "if time.monotonic() > deadline or not (",
        "if not (",
        ("tests/test_store.py",),
    ),
    Bug(
        "a-raw-fault-on-a-page",
        "A page that lists devices is 500 when the database fails in the middle of it.",
        "web/__init__.py",
        "    for fault in STORE_FAULTS:\n"
        "        blueprint.register_error_handler(fault, views.failed)\n",
        "",
        ("tests/test_web_views.py",),
    ),
)
