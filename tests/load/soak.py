"""Many people at one server for long: every answer names the right person, or it is counted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tests.load.people import USUAL, Crowd, Tally
from tests.load.serving import ROOT, site
from tests.load.site import make_site
from tests.support import add_user, db


@dataclass
class Result:
    """What a soak saw.

    Attributes:
        tally: of all people.
        seconds: how long it took.
        strays: sessions whose row does not say what was acknowledged.
    """

    tally: Tally
    seconds: float
    strays: int

    def __str__(self) -> str:
        """Everything that counts, a line each."""
        changes = len(self.tally.successes)
        return (
            f"requests          {self.tally.requests}\n"
            f"  of them changes {changes}\n"
            f"sessions          {len(self.tally.live | self.tally.ended)}\n"
            f"wrong identities  {len(self.tally.wrong)}\n"
            f"failed, 500       {len(self.tally.failures)}, "
            f"{sum(failure.status == 500 for failure in self.tally.failures)}\n"
            f"rows astray       {self.strays}\n"
            f"seconds           {self.seconds:.0f}\n"
            f"requests a second {self.tally.requests / self.seconds:.0f}\n"
            f"slowest answer    {self.tally.slowest:.2f} s"
        )

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong, failed or lost."""
        return not (self.tally.wrong or self.tally.failures or self.strays)


def soak(
    uri: str, folder: Path, requests: int, *, people: int = 200, processes: int = 2, seed: int = 0
) -> Result:
    """Let people work at an app behind gunicorn: two workers of four threads, forked late.

    Args:
        uri: an empty database.
        folder: for the log of the server.
        requests: how many in all.
        people: how many, each with four browsers.
        processes: how many the load comes from, of four threads each.
        seed: chooses what they do.
    """
    emails = [f"{number}@example.com" for number in range(people)]
    _populate(uri, emails)
    with site(folder, workers=2, uri=uri, touch=60) as port:
        began = time.monotonic()
        crowds = [
            _start(
                [port, emails[number::processes], -(-requests // processes), seed + 100 * number]
            )
            for number in range(processes)
        ]
        tally = Tally()
        for crowd in crowds:
            tally.add(_finish(crowd))
        seconds = time.monotonic() - began
    return Result(tally, seconds, _count_strays(uri, tally))


def _start(arguments: list[object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.load.soak", json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _finish(crowd: subprocess.Popen[str]) -> Tally:
    try:
        said, _ = crowd.communicate()
    finally:
        crowd.kill()
    assert crowd.returncode == 0, said
    return Tally.loads(said)


def _populate(uri: str, emails: list[str]) -> None:
    app = make_site(uri)
    with app.app_context():
        db.create_all()
        for email in emails:
            add_user(email)
        db.engine.dispose()


def _count_strays(uri: str, tally: Tally) -> int:
    app = make_site(uri)
    with app.app_context():
        model = app.extensions["device_sessions"].session_model
        rows = db.session.execute(sa.select(model.id, model.ended_at.is_not(None)))
        has_ended = {row[0]: bool(row[1]) for row in rows}
        db.session.remove()
        db.engine.dispose()
    return sum(tally.lost(has_ended))


def _main(port: int, emails: list[str], requests: int, seed: int) -> None:
    crowd = Crowd([port], emails, threads=4, seed=seed, habits=USUAL, requests=requests)
    crowd.start()
    sys.stdout.write(crowd.finish().dumps())


if __name__ == "__main__":
    _main(*json.loads(sys.argv[1]))
