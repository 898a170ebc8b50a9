"""Let 200 people work at an app behind gunicorn, and check every answer.

    python -m tools.soak --requests 1000000

It needs `make services`, for its database. It fails when an answer named somebody else, when an
ended session was let in, a live one was not, or a request was answered 500 and above.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests import engines
from tests.load.soak import soak


def main() -> int:
    """Run it, print what was seen; 0 when all was right."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2, help="that the load comes from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=engines.NAMES, default="postgresql")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        engine = engines.prepare(chosen.engine, "soak", folder)
        try:
            result = soak(
                engine.uri,
                folder,
                chosen.requests,
                people=chosen.people,
                processes=chosen.processes,
                seed=chosen.seed,
            )
        finally:
            engines.remove(engine)
    print(result)
    for line in result.tally.wrong[:10]:
        print(line)
    return 0 if result.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
