"""People who sign in, look, sign out and revoke, and keep a ledger of what was acknowledged.

A change is acknowledged when the answer said that it was made. What an answer left open (503, a
line that broke) is open for ever after: either is right. Everything else has to be as the ledger
says, at each request and on each node.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

from tests.load.wire import Answer, Line
from tests.support import PASSWORD

SESSION_COOKIE = "device_session"

#: What people do, and how often in a thousand; the rest of the time they look at a page.
BUSY = {"sign_in": 100, "revoke": 80, "sign_out": 20}
USUAL = {"sign_in": 20, "revoke": 10, "sign_out": 5, "change_password": 5}


class Failure(NamedTuple):
    """A request that was not answered as it should, for want of a server."""

    status: int
    path: str
    server: int
    began: float
    ended: float


class Mistake(NamedTuple):
    """Something against the ledger: when it was seen, by the monotonic clock, and what."""

    at: float
    text: str


@dataclass
class Tally:
    """What a load saw.

    Attributes:
        requests: how many.
        failures: answers of 500 and above, and none at all.
        wrong: what was against the ledger: another person, an ended session that lives, a
            live one that is gone.
        slowest: longest wait for an answer, in seconds.
        live: the sessions whose start was acknowledged, and no end asked for.
        ended: those whose end was acknowledged.
        successes: when a change was acknowledged, by the monotonic clock.
    """

    requests: int = 0
    failures: list[Failure] = field(default_factory=list)
    wrong: list[Mistake] = field(default_factory=list)
    slowest: float = 0.0
    live: set[uuid.UUID] = field(default_factory=set)
    ended: set[uuid.UUID] = field(default_factory=set)
    successes: list[float] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what another load saw."""
        self.requests += other.requests
        self.failures += other.failures
        self.wrong += other.wrong
        self.slowest = max(self.slowest, other.slowest)
        self.live |= other.live
        self.ended |= other.ended
        self.successes += other.successes

    def dumps(self) -> str:
        """Return all of it as text, for another process."""
        return json.dumps(vars(self), default=_plain)

    @classmethod
    def loads(cls, text: str) -> Tally:
        """Return what :meth:`dumps` wrote."""
        facts = json.loads(text)
        for name in ("live", "ended"):
            facts[name] = {uuid.UUID(key) for key in facts[name]}
        facts["wrong"] = [Mistake(*values) for values in facts["wrong"]]
        facts["failures"] = [Failure(*values) for values in facts["failures"]]
        return cls(**facts)

    def lost(self, rows: dict[uuid.UUID, bool]) -> tuple[int, int]:
        """Return how many acknowledged sessions, and how many ends, are not as they should be.

        Args:
            rows: each session that a server has, with whether it has ended.
        """
        sessions = [i for i in self.live if rows.get(i) is not False] + [
            i for i in self.ended if i not in rows
        ]
        ends = [i for i in self.ended if rows.get(i) is False]
        return len(sessions), len(ends)

    def note_wrong(self, text: str) -> None:
        """Write down something that is against the ledger."""
        self.wrong.append(Mistake(time.monotonic(), text))

    def longest_gap(self) -> float:
        """Return the longest time without an acknowledged change, in seconds."""
        times = sorted(self.successes)
        return max((late - early for early, late in zip(times, times[1:], strict=False)), default=0)


def _plain(ids: set[uuid.UUID]) -> list[str]:
    return [str(key) for key in ids]


class Browser:
    """One browser of a person's.

    Attributes:
        jar: its cookies.
        session_id: its session, as the answer to its last sign-in gave it.
        is_in: what its next request has to find; ``None`` when an answer left that open.
    """

    def __init__(self) -> None:
        self.jar: dict[str, str] = {}
        self.session_id: uuid.UUID | None = None
        self.is_in: bool | None = False


class Person:
    """Somebody with a few browsers, who does one thing after another.

    Args:
        email: who.
        ask: sends a request to some server.
        tally: where it is written down.
        chance: what comes next.
        browsers: how many.
        habits: how often what is done, such as :data:`BUSY`.
    """

    def __init__(
        self,
        email: str,
        ask: Callable[..., Answer],
        tally: Tally,
        chance: random.Random,
        browsers: int = 4,
        habits: dict[str, int] = BUSY,
    ) -> None:
        self.email = email
        self._password = PASSWORD
        self._ask, self._tally, self._chance = ask, tally, chance
        self.browsers = [Browser() for _ in range(browsers)]
        self._acts: list[Callable[[], None]] = [
            getattr(self, f"_{name}") for name, share in habits.items() for _ in range(share)
        ]

    def act(self) -> None:
        """Do something: mostly, look at a page."""
        number = self._chance.randrange(1000)
        if number < len(self._acts):
            self._acts[number]()
        else:
            self.look(self._chance.choice(self.browsers))

    def look(self, browser: Browser) -> None:
        """Ask who is signed in, and compare that with the ledger."""
        answer = self._ask("/whoami", browser.jar)
        if answer.status != 200:
            return
        seen = json.loads(answer.body)
        said = (seen["user"], seen["session"])
        own: Any = (self.email, str(browser.session_id))
        nobody: Any = (None, None)
        right = {True: [own], False: [nobody], None: [own, nobody]}[browser.is_in]
        if said not in right:
            self._tally.note_wrong(f"{said} instead of {right}")

    # -- What is done now and then -----------------------------------------------------------------

    def _pick(self, is_in: bool) -> Browser | None:
        able = [browser for browser in self.browsers if browser.is_in is is_in]
        return self._chance.choice(able) if able else None

    def _sign_in(self) -> None:
        browser = self._pick(is_in=False)
        if browser is None:
            return
        jar = {name: text for name, text in browser.jar.items() if name != SESSION_COOKIE}
        form = {"identifier": self.email, "password": self._password}
        answer = self._ask("/login", jar, form)
        cookie = answer.cookies.get(SESSION_COOKIE)
        if answer.status == 303 and cookie:
            browser.jar = jar | answer.cookies
            browser.session_id, browser.is_in = session_id_of(cookie), True
            self._tally.live.add(browser.session_id)
            self._tally.successes.append(time.monotonic())
        elif answer.status != 0 and answer.status < 500:
            self._tally.note_wrong(f"signing in was answered {answer.status}")

    def _sign_out(self) -> None:
        browser = self._pick(is_in=True)
        if browser is not None:
            answer = self._ask("/logout", browser.jar, {})
            self._note_end([browser], answer, "/login")

    def _revoke(self) -> None:
        browser, other = self._pick(is_in=True), self._pick(is_in=True)
        if browser is not None and other is not None and browser is not other:
            path = f"/devices/sessions/{other.session_id}/revoke"
            self._note_end([other], self._ask(path, browser.jar, {}), "/devices")

    def _change_password(self) -> None:
        browser = self._pick(is_in=True)
        if browser is None:
            return
        password = f"{self._chance.getrandbits(64):x} {PASSWORD}"
        answer = self._ask("/password", browser.jar, {"password": password})
        others = [one for one in self.browsers if one is not browser and one.is_in is not False]
        self._note_end(others, answer, "/whoami")
        if answer.status == 303:
            self._password = password
            browser.jar |= answer.cookies

    def _note_end(self, ended: Iterable[Browser], answer: Answer, place: str) -> None:
        """Write down that sessions are over, if the answer sends the browser to ``place``."""
        is_done = answer.status == 303 and unquote(answer.location).startswith(place)
        if not is_done and 0 < answer.status < 500:
            self._tally.note_wrong(f"ending was answered {answer.status} {answer.location}")
        for browser in ended:
            assert browser.session_id is not None
            browser.is_in = False if is_done and browser.is_in is not None else None
            self._tally.live.discard(browser.session_id)
            if is_done:
                self._tally.ended.add(browser.session_id)
        if is_done:
            self._tally.successes.append(time.monotonic())


def session_id_of(cookie: str) -> uuid.UUID:
    """Return the id in a session cookie: a version, then id and secret in base64, then a MAC."""
    raw = urlsafe_b64decode(cookie.rpartition(".")[0][1:] + "=")
    return uuid.UUID(bytes=raw[:16])


class Crowd:
    """Threads of people, each person in one thread, at some servers.

    Args:
        ports: the servers'; each request goes to any of them.
        emails: the people.
        threads: how many requests at once.
        seed: makes the same people do the same again, as far as the answers are the same.
        habits: such as :data:`BUSY`.
        requests: how many requests until they stop; ``None``: until told to.
    """

    def __init__(
        self,
        ports: Sequence[int],
        emails: Sequence[str],
        threads: int,
        seed: int = 0,
        habits: dict[str, int] = BUSY,
        requests: int | None = None,
    ) -> None:
        self._ports = ports
        self._share = None if requests is None else -(-requests // threads)
        self._habits = habits
        self._is_over = threading.Event()
        self._tallies = [Tally() for _ in range(threads)]
        self._faults: list[BaseException] = []
        self.threads = [
            threading.Thread(
                target=self._run, args=(tally, emails[number::threads], seed + number), daemon=True
            )
            for number, tally in enumerate(self._tallies)
        ]

    def start(self) -> None:
        """Let them begin."""
        for thread in self.threads:
            thread.start()

    def count(self) -> int:
        """Return how many changes were acknowledged until now."""
        return sum(len(tally.successes) for tally in self._tallies)

    def finish(self) -> Tally:
        """Let each finish what they do, if no number was given; return what they saw."""
        if self._share is None:
            self._is_over.set()
        for thread in self.threads:
            thread.join()
        if self._faults:
            raise self._faults[0]
        total = Tally()
        for tally in self._tallies:
            total.add(tally)
        return total

    def _run(self, tally: Tally, emails: Sequence[str], seed: int) -> None:
        chance = random.Random(seed)
        asker = _Asker(self._ports, tally, chance)
        people = [Person(email, asker, tally, chance, habits=self._habits) for email in emails]
        try:
            while not self._is_over.is_set() and tally.requests != self._share:
                chance.choice(people).act()
        except BaseException as fault:  # told to whoever waits for the end
            self._faults.append(fault)
        finally:
            asker.close()


class _Asker:
    """Sends requests to any of the servers, over one line to each, and counts."""

    def __init__(self, ports: Sequence[int], tally: Tally, chance: random.Random) -> None:
        self._lines = [Line(port) for port in ports]
        self._tally, self._chance = tally, chance

    def __call__(
        self, path: str, cookies: dict[str, str], form: dict[str, str] | None = None
    ) -> Answer:
        """Return the answer."""
        server = self._chance.randrange(len(self._lines))
        began = time.monotonic()
        answer = self._lines[server].ask(path, cookies, form)
        ended = time.monotonic()
        self._tally.requests += 1
        self._tally.slowest = max(self._tally.slowest, ended - began)
        if answer.status == 0 or answer.status >= 500:
            self._tally.failures.append(Failure(answer.status, path, server, began, ended))
        return answer

    def close(self) -> None:
        """Hang up everywhere."""
        for line in self._lines:
            line.close()
