"""Words. With Flask-Babel they come from this package's catalogues, without it in English.

Every sentence a person reads goes through :func:`gettext` or :func:`ngettext`, so that a
catalogue is all a new language needs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

#: The gettext domain of this package's own catalogues.
DOMAIN = "flask_device_sessions"

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@cache
def _domain() -> Any | None:
    """Return Flask-Babel's view of our catalogues, or ``None`` where it is not installed."""
    try:
        from flask_babel import Domain
    except ImportError:
        return None
    return Domain(str(Path(__file__).parent / "translations"), domain=DOMAIN)


def _translations() -> Any | None:
    from flask import current_app, has_app_context

    domain = _domain()
    if domain is None or not has_app_context() or "babel" not in current_app.extensions:
        return None
    return domain.get_translations()


def _app_translations() -> Any:
    """Return the app's own catalogue: its layout speaks through these functions, too."""
    from flask_babel import get_translations

    return get_translations()


def N_(message: str) -> str:
    """Mark a message for the catalogues that is translated later, where it is shown."""
    return message


def gettext(message: str, /, **values: Any) -> str:
    """Return ``message`` in the reader's language, its ``%(name)s`` filled in."""
    text = translate(message)
    return text % values if values else text


def ngettext(one: str, many: str, number: int, /, **values: Any) -> str:
    """Return the form for ``number`` things; ``%(num)d`` is the number."""
    return translate_number(one, many, number) % {"num": number, **values}


def translate(message: str) -> str:
    """Return ``message`` in the reader's language, nothing filled in."""
    translations = _translations()
    text = translations.ugettext(message) if translations else message
    if translations and text == message:
        text = _app_translations().ugettext(message)
    return str(text)


def translate_number(one: str, many: str, number: int) -> str:
    """Return the form for ``number`` things in the reader's language, nothing filled in."""
    translations = _translations()
    if not translations:
        return one if number == 1 else many
    text = translations.ungettext(one, many, number)
    if text in (one, many):
        text = _app_translations().ungettext(one, many, number)
    return str(text)


def language() -> tuple[str, str]:
    """Return the page's language tag and text direction (``"ltr"`` or ``"rtl"``).

    It is the language that the words are in: English for a reader of one without a catalogue.
    """
    ours = _translations()
    if ours is None:
        return "en", "ltr"
    from flask_babel import get_locale

    locale = get_locale()
    has_words = bool(ours.files or _app_translations().files)
    if locale is None or not (has_words or locale.language == "en"):
        return "en", "ltr"
    return str(locale).replace("_", "-"), locale.text_direction


def time_ago(moment: datetime, now: datetime) -> str:
    """Say how long ago ``moment`` was, as roughly as people do."""
    passed = now - moment
    if passed < _MINUTE:
        return gettext("just now")
    if passed < _HOUR:
        return ngettext("%(num)d minute ago", "%(num)d minutes ago", passed // _MINUTE)
    if passed < _DAY:
        return ngettext("%(num)d hour ago", "%(num)d hours ago", passed // _HOUR)
    return ngettext("%(num)d day ago", "%(num)d days ago", passed // _DAY)
