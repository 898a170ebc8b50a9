"""Changes that no test can notice, each with the reason why that is so.

By module, then by the changed line's own text and what became of what; as the run prints them.
"""

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {
    "tokens": {
        (
            'raw = urlsafe_b64decode(text[1:] + "=")',
            "\"=\" -> '=XX'",
        ): "b64decode stops at the padding; what follows it is not read.",
        (
            'return _VERSION + urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")',
            "b\"=\" -> b'=XX'",
        ): "Of 32 bytes, the last character before the padding is one of 16 letters, never an X.",
    },
    "transport": {
        (
            'scheme: str = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")[0]',
            "\"\" -> 'XX'",
        ): "Neither is the scheme of bearer tokens.",
        (
            "if self._signatures is None or keys != self._keys:",
            "self._signatures is None -> self._signatures is not None",
        ): "The signatures are made anew for each request: the same ones, only slower.",
        (
            'signed = request.cookies.get(self.browser_cookie_name(app), "")',
            "\"\" -> 'XX'",
        ): "Neither is signed, so neither names a browser.",
        (
            'return urlsafe_b64decode(text + "==")',
            "\"==\" -> '==XX'",
        ): "b64decode stops at the padding; what follows it is not read.",
        (
            'name = urlsafe_b64encode(outgoing.browser_id).rstrip(b"=").decode("ascii")',
            "b\"=\" -> b'=XX'",
        ): "Of 16 bytes, the last character before the padding is one of A, Q, g and w.",
    },
    "audit": {
        (
            'NOBODYS = Tail(0, "")',
            "0 -> 1",
        ): "Events of nobody's account have no number: this one is not read.",
        (
            'NOBODYS = Tail(0, "")',
            "\"\" -> 'XX'",
        ): "Events of nobody's account are chained to nothing: this MAC is not read.",
    },
    "throttle": {
        (
            '_OVERLOOKED = frozenset("MCZ")',
            "\"MCZ\" -> 'MCZXX'",
        ): "No category of Unicode begins with an X.",
        (
            "self._longest = 0",
            "0 -> 1",
        ): "No window is shorter than a second, and each count takes the longest into account.",
        (
            "items = ()",
            "() -> None",
        ): "Either is no limit, and refused.",
    },
    "store": {
        (
            'T = TypeVar("T")',
            'TypeVar("T") -> None',
        ): "Only type checkers read it.",
        (
            'T = TypeVar("T")',
            "\"T\" -> 'TXX'",
        ): "Only type checkers read it.",
        (
            '_READS_ARE_OLD = "flask_device_sessions.reads_are_old"',
            '"flask_device_sessions.reads_are_old" -> None',
        ): "Any key of its own will do.",
        (
            '_READS_ARE_OLD = "flask_device_sessions.reads_are_old"',
            "\"flask_device_sessions.reads_are_old\" -> 'flask_device_sessions.reads_are_oldXX'",
        ): "Any key of its own will do.",
        (
            "self._asked = dict(zip(_ASKED, row[: len(_ASKED)], strict=True))",
            "True -> False",
        ): "The row has these columns: the SELECT is made of the same names.",
        (
            "values = dict(zip(self._others, row[self._slice], strict=True), **known)",
            "True -> False",
        ): "The row has these columns: the SELECT is made of the same names.",
        (
            "if time.monotonic() > deadline or not (is_transient(error) or is_conflict(error)):",
            "time.monotonic() > deadline -> time.monotonic() >= deadline",
        ): "A clock that stands still at the very deadline.",
        (
            "vars(self).update(self._asked)",
            "vars(self).update(self._asked) -> pass",
        ): "__getattr__ finds them in the row, only slower.",
        (
            "vars(self)[name] = value",
            "vars(self)[name] = value -> pass",
        ): "It is looked for in the row again, only slower.",
    },
}
