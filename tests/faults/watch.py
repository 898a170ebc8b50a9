"""People who are signed in before, during and after a fault; every answer they get is looked at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.ambient import utc_now
from flask_device_sessions.testing import IPHONE, Browser
from tests.support import User, add_user, db, jar_of, sign_in, who

#: How soon after a fault's end everything works again, in seconds.
SOON = 5.0

PEOPLE = ("ada@example.com", "ben@example.com")

#: What a fault of the whole database does to each of :meth:`Watch.everything`.
ALL_DOWN = {
    "restore": 503,
    "list": 503,
    "activity": 503,
    "sign-in": 503,
    "confirm": 503,
    "rename": 503,
    "revoke": 503,
    "others": 503,
    "sign-out": 503,
    "api": 503,
    "open": 200,
}


class Watch:
    """Ada and Ben, each with a laptop and a phone.

    Args:
        app: the app, its database well; without people, they are added.

    Attributes:
        statuses: how often which status was answered.
        longest: how long the longest answer took, in seconds.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.statuses: Counter[int] = Counter()
        self.longest = 0.0
        self.laptops = {email: Browser(app) for email in PEOPLE}
        self.phones = {email: Browser(app, IPHONE, ip="198.51.100.7") for email in PEOPLE}
        with app.app_context():
            if db.session.query(User).count() == 0:
                for email in PEOPLE:
                    add_user(email)
        self.phone_ids: dict[str, str] = {}
        for email in PEOPLE:
            self.come_back(email)
        with app.app_context():
            extension: DeviceSessions = app.extensions["device_sessions"]
            ada = db.session.query(User).filter_by(email=PEOPLE[0]).one()
            self._token = extension.issue_token(ada, name="CI").token
            self._device_id = extension.devices_of(ada)[0].id

    def come_back(self, email: str) -> None:
        """Sign this person's two browsers in, again."""
        for browser in (self.laptops[email], self.phones[email]):
            assert sign_in(browser, email).status_code == 303
        answer: Any = self.phones[email].get("/whoami")
        self.phone_ids[email] = answer.json["session"]

    # -- Asking ----------------------------------------------------------------------------------

    def ask(self, browser: Browser, method: str, path: str, **options: Any) -> Any:
        """Send a request, and look at its answer: no 500, and a 503 takes nothing away."""
        jar = jar_of(browser)
        start = time.monotonic()
        answer: Any = browser.open(path, method=method, **options)
        self.longest = max(self.longest, time.monotonic() - start)
        self.statuses[answer.status_code] += 1
        assert answer.status_code != 500
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
            assert jar_of(browser) == jar
        return answer

    def restore(self, email: str) -> int:
        """Ask who is calling on this person's laptop: it is they, or nobody can tell."""
        answer = self.ask(self.laptops[email], "GET", "/whoami")
        if answer.status_code != 503:
            assert answer.status_code == 200
            assert answer.json["user"] == email
        return int(answer.status_code)

    def sign_in(self, email: str = PEOPLE[0]) -> int:
        """Sign this person in in a new browser: afterwards it is they, or nobody."""
        browser = Browser(self.app, ip="203.0.113.9")
        form = {"identifier": email, "password": "correct horse battery staple"}
        answer = self.ask(browser, "POST", "/login", data=form)
        if answer.status_code == 303:
            asked = self.ask(browser, "GET", "/whoami")
            assert asked.status_code == 503 or asked.json["user"] == email
        else:
            assert "device_session" not in jar_of(browser)
        return int(answer.status_code)

    def everything(self) -> dict[str, int]:
        """Do everything that there is, once; return the statuses by name."""
        ada, ben = (self.laptops[email] for email in PEOPLE)
        phone = self.phone_ids[PEOPLE[0]]
        form = {"password": "correct horse battery staple"}
        name = {"name": "Mine"}
        program = Browser(self.app)
        bearer = {"Authorization": f"Bearer {self._token}"}
        steps: dict[str, Callable[[], Any]] = {
            "restore": lambda: self.restore(PEOPLE[0]),
            "list": lambda: self.ask(ada, "GET", "/devices/"),
            "activity": lambda: self.ask(ada, "GET", "/devices/activity"),
            "sign-in": lambda: self.sign_in(PEOPLE[1]),
            "confirm": lambda: self.ask(ada, "POST", "/confirm", data=form),
            "rename": lambda: self.ask(
                ada, "POST", f"/devices/{self._device_id}/rename", data=name
            ),
            "revoke": lambda: self.ask(ada, "POST", f"/devices/sessions/{phone}/revoke"),
            "others": lambda: self.ask(ada, "POST", "/devices/revoke-others"),
            "sign-out": lambda: self.ask(ben, "POST", "/logout"),
            "api": lambda: self.ask(program, "GET", "/api/sessions", headers=bearer),
            "open": lambda: self.ask(ada, "GET", "/open"),
        }
        return {
            name: answer if isinstance(answer := step(), int) else answer.status_code
            for name, step in steps.items()
        }

    # -- Afterwards ------------------------------------------------------------------------------

    def recovers(self) -> float:
        """Ask until everybody is known again and can sign in; return after how many seconds."""
        start = time.monotonic()
        while True:
            if all(self.restore(email) == 200 for email in PEOPLE) and self.sign_in() == 303:
                return time.monotonic() - start
            assert time.monotonic() - start < SOON, "it does not work again"

    def nothing_was_lost(self) -> bool:
        """Whether all four browsers are still signed in as who they were."""
        every = [*self.laptops.items(), *self.phones.items()]
        return all(who(browser) == email for email, browser in every)


def age_sessions(app: Flask) -> None:
    """Let every session be due for a touch."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        model: Any = extension.session_model
        late = utc_now() - 2 * extension.settings.touch_interval
        db.session.query(model).update({"last_active_at": late})
        db.session.commit()
