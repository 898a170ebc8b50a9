"""What is current: filled in by the HTTP edge, asked by the models, which know no Flask.

Outside an app the answers are the defaults: default settings, no current session.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timezone

from .config import Settings


class Ambient:
    """Three questions and who answers them.

    Attributes:
        settings: the settings of the app that is running.
        session_id: the id of the session of the request that is running, if any.
        stored_address: what ``IP_STORAGE`` lets that app keep of an address.
    """

    def __init__(self) -> None:
        self.settings: Callable[[], Settings] = Settings
        self.session_id: Callable[[], uuid.UUID | None] = lambda: None
        self.stored_address: Callable[[str | None], str | None] = lambda address: address


ambient = Ambient()


def utc_now() -> datetime:
    """Return the time as an aware UTC datetime: the one clock of this package."""
    return datetime.now(timezone.utc)
