"""What gunicorn loads: a contender on a database that is filled already.

``BENCH_CONTENDER`` names it, ``BENCH_URI`` is its database.
"""

from __future__ import annotations

import logging
import os

from .contenders import BY_NAME

logging.getLogger().addHandler(logging.NullHandler())  # what apps log is not for the screen

application = BY_NAME[os.environ["BENCH_CONTENDER"]].make(os.environ["BENCH_URI"]).application
