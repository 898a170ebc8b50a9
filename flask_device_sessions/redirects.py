r"""Where ``next`` may lead: to a path of this site and nowhere else.

The judge is the browser's reading of a URL (WHATWG), not the RFC's: it drops tabs and line
ends, and reads a backslash as a slash, so ``/\evil.example`` names another host.
"""

from __future__ import annotations

import re

#: Longest target that is kept, in characters.
_LONGEST = 2048

#: One slash, not followed by a second or a backslash; no white space, control, or surrogate.
_PATH = r"/(?![/\\])[^\x00-\x20\x7f-\x9f\\\ud800-\udfff]*"


def safe_next(target: object) -> str | None:
    """Return ``target`` if it is a path on this origin, else ``None``.

    Args:
        target: a value from outside, such as the ``next`` of a form.
    """
    if not isinstance(target, str) or len(target) > _LONGEST:
        return None
    return target if re.fullmatch(_PATH, target) else None
