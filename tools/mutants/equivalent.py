"""Changes that no test can notice, each with the reason why that is so.

By module, then by the changed line's own text and what became of what; as the run prints them.
"""

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {}
