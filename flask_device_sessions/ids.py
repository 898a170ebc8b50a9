"""Primary keys: time-ordered UUIDs (RFC 9562, version 7).

Random ones (version 4) land all over the index: at ten million rows they cost twice the
write-ahead log and half the insert rate. The time they show is no secret; the secret of a
credential is elsewhere.
"""

from __future__ import annotations

import sys
import uuid


def new_id() -> uuid.UUID:
    """Return a new UUIDv7. What makes it is loaded with the first one, not at import."""
    if sys.version_info >= (3, 14):
        from uuid import uuid7
    else:
        from uuid_utils.compat import uuid7
    return uuid7()
