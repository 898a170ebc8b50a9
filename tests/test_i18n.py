"""Words: in English, from our catalogues, or from the app's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from flask import Flask, request
from flask_babel import Babel

from flask_device_sessions import i18n
from flask_device_sessions.i18n import DOMAIN, N_, gettext, language, ngettext, time_ago

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
MINUTES = ("%(num)d minute ago", "%(num)d minutes ago")

Translate = Callable[..., None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package folder of the test's own, whose catalogues are asked."""
    monkeypatch.setattr(i18n, "__file__", str(tmp_path / "ours" / "i18n.py"))
    i18n._domain.cache_clear()
    yield tmp_path
    i18n._domain.cache_clear()


@pytest.fixture
def ours(home: Path) -> Translate:
    """Writes a catalogue of ours."""
    return _writer(home / "ours" / "translations", DOMAIN)


@pytest.fixture
def theirs(home: Path) -> Translate:
    """Writes a catalogue of the app's."""
    return _writer(home / "theirs", "messages")


@pytest.fixture
def app(home: Path) -> Flask:
    """An app that speaks the language of ``?in=``, by Flask-Babel."""
    app = Flask("tests")
    Babel(
        app,
        default_translation_directories=str(home / "theirs"),
        locale_selector=lambda: request.args.get("in"),
    )
    return app


def _writer(folder: Path, domain: str) -> Translate:
    def write(locale: str, messages: dict[Any, Any]) -> None:
        catalogue = Catalog(locale=locale, domain=domain)
        for message, text in messages.items():
            catalogue.add(message, text)
        place = folder / locale / "LC_MESSAGES" / f"{domain}.mo"
        place.parent.mkdir(parents=True)
        with place.open("wb") as file:
            write_mo(file, catalogue)

    return write


def _in(app: Flask, locale: str) -> Any:
    return app.test_request_context(f"/?in={locale}")


# -- In English --------------------------------------------------------------------------------


def test_outside_an_app_the_words_are_english() -> None:
    """A script or a shell gets sentences too."""
    assert gettext("Expired.") == "Expired."
    assert gettext("Signed in %(when)s", when="just now") == "Signed in just now"
    assert ngettext(*MINUTES, 1) == "1 minute ago"
    assert language() == ("en", "ltr")


def test_in_an_app_without_flask_babel_the_words_are_english() -> None:
    """The extension needs no Flask-Babel: an app without it is a plain English one."""
    with Flask("tests").test_request_context(headers={"Accept-Language": "de"}):
        assert gettext("Expired.") == "Expired."
        assert ngettext(*MINUTES, 2) == "2 minutes ago"
        assert language() == ("en", "ltr")


def test_where_flask_babel_is_not_installed_the_words_are_english(
    app: Flask, ours: Translate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra: its absence is no error."""
    ours("de", {"Expired.": "Abgelaufen."})
    monkeypatch.setitem(sys.modules, "flask_babel", None)

    with _in(app, "de"):
        assert gettext("Expired.") == "Expired."
        assert ngettext(*MINUTES, 5) == "5 minutes ago"
        assert language() == ("en", "ltr")


@pytest.mark.parametrize("locale", ["en", "en_GB", "fr"])
def test_a_language_without_a_catalogue_reads_english(app: Flask, locale: str) -> None:
    """A missing translation shows the original, never a key or an error."""
    with _in(app, locale):
        assert gettext("Expired.") == "Expired."
        assert gettext("Signed in %(when)s", when="x") == "Signed in x"
        assert ngettext(*MINUTES, 1) == "1 minute ago"
        assert ngettext(*MINUTES, 2) == "2 minutes ago"


# -- From our catalogues -----------------------------------------------------------------------


def test_our_words_come_from_our_catalogue(app: Flask, ours: Translate) -> None:
    """An app with Flask-Babel gets our translations without doing anything."""
    ours("de", {"Expired.": "Abgelaufen.", "Signed in %(when)s": "Angemeldet %(when)s"})

    with _in(app, "de"):
        assert gettext("Expired.") == "Abgelaufen."
        assert gettext("Signed in %(when)s", when="eben") == "Angemeldet eben"


def test_our_catalogues_lie_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are installed with it, in the folder where ``make messages`` writes them."""
    i18n._domain.cache_clear()
    domain = i18n._domain()
    i18n._domain.cache_clear()

    assert domain is not None
    assert domain.translation_directories == [str(Path(i18n.__file__).parent / "translations")]
    assert domain.domain == ["flask_device_sessions"]


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1 minutę temu"), (2, "2 minuty temu"), (5, "5 minut temu")]
)
def test_each_language_has_its_own_plurals(
    app: Flask, ours: Translate, number: int, text: str
) -> None:
    """Polish has three forms where English has two."""
    ours("pl", {MINUTES: ("%(num)d minutę temu", "%(num)d minuty temu", "%(num)d minut temu")})

    with _in(app, "pl"):
        assert ngettext(*MINUTES, number) == text


def test_each_reader_reads_their_own_language(app: Flask, ours: Translate) -> None:
    """Languages are the request's: nothing is remembered from the one before."""
    ours("de", {"Expired.": "Abgelaufen."})
    ours("nl", {"Expired.": "Verlopen."})
    heard = []
    for locale in ("de", "nl", "en", "de"):
        with _in(app, locale):
            heard.append(gettext("Expired."))

    assert heard == ["Abgelaufen.", "Verlopen.", "Expired.", "Abgelaufen."]


# -- From the app's catalogue ------------------------------------------------------------------


def test_what_ours_lacks_the_apps_catalogue_answers(
    app: Flask, ours: Translate, theirs: Translate
) -> None:
    """A layout of the app's that is drawn around our pages keeps its own words."""
    ours("de", {"Expired.": "Abgelaufen."})
    theirs("de", {"Our shop": "Unser Laden", "Hello %(name)s": "Hallo %(name)s"})

    with _in(app, "de"):
        assert gettext("Our shop") == "Unser Laden"
        assert gettext("Hello %(name)s", name="Ada") == "Hallo Ada"
        assert gettext("Nobody's words") == "Nobody's words"


def test_the_apps_plurals_answer_too(app: Flask, theirs: Translate) -> None:
    """What holds for a sentence holds for a counted one."""
    theirs("de", {("%(num)d item", "%(num)d items"): ("%(num)d Ding", "%(num)d Dinge")})

    with _in(app, "de"):
        assert ngettext("%(num)d item", "%(num)d items", 1) == "1 Ding"
        assert ngettext("%(num)d item", "%(num)d items", 3) == "3 Dinge"


def test_our_catalogue_comes_first(app: Flask, ours: Translate, theirs: Translate) -> None:
    """A word that both have is ours on our pages."""
    ours("de", {"Expired.": "Abgelaufen."})
    theirs("de", {"Expired.": "Ungültig."})

    with _in(app, "de"):
        assert gettext("Expired.") == "Abgelaufen."


# -- Filling in --------------------------------------------------------------------------------


def test_a_percent_sign_alone_is_left_alone() -> None:
    """Only a message with values has something to fill in."""
    assert gettext("100 % sure") == "100 % sure"
    assert gettext("%(share)d %% sure", share=100) == "100 % sure"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 minutes ago"), (1, "1 minute ago"), (2, "2 minutes ago"), (21, "21 minutes ago")],
)
def test_english_counts_one_and_many(number: int, text: str) -> None:
    """Zero things are many."""
    assert ngettext(*MINUTES, number) == text


def test_a_counted_sentence_takes_more_values() -> None:
    """The number is there by itself, the rest is given."""
    text = ngettext("%(num)d day in %(city)s", "%(num)d days in %(city)s", 2, city="Berlin")

    assert text == "2 days in Berlin"


def test_marking_a_message_changes_nothing(app: Flask, ours: Translate) -> None:
    """``N_`` is for the extractor; the translation happens where it is shown."""
    ours("de", {"Expired.": "Abgelaufen."})

    with _in(app, "de"):
        assert N_("Expired.") == "Expired."


# -- The page's language -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "tag", "direction"),
    [
        ("en", "en", "ltr"),
        ("de", "de", "ltr"),
        ("pt_BR", "pt-BR", "ltr"),
        ("zh_Hans_CN", "zh-Hans-CN", "ltr"),
        ("ar", "ar", "rtl"),
        ("he", "he", "rtl"),
        ("fa_IR", "fa-IR", "rtl"),
    ],
)
def test_a_page_names_its_language_and_direction(
    app: Flask, ours: Translate, locale: str, tag: str, direction: str
) -> None:
    """Browsers and screen readers are told a BCP 47 tag, and where a line begins."""
    ours(locale, {"Expired.": "…"})

    with _in(app, locale):
        assert language() == (tag, direction)


def test_an_app_that_brings_its_own_catalogue_is_in_its_language(
    app: Flask, theirs: Translate
) -> None:
    """A language that this package does not have can be the app's."""
    theirs("de", {"Expired.": "Abgelaufen."})

    with _in(app, "de"):
        assert language() == ("de", "ltr")


@pytest.mark.parametrize(
    ("locale", "tag"), [("fr", "en"), ("ar", "en"), ("en_GB", "en-GB"), ("en", "en")]
)
def test_a_page_without_a_catalogue_is_in_english_and_says_so(
    app: Flask, locale: str, tag: str
) -> None:
    """A screen reader must not read English in a French voice (WCAG 3.1.1)."""
    with _in(app, locale):
        assert language() == (tag, "ltr")


def test_without_a_choice_the_apps_default_holds(app: Flask) -> None:
    """A selector that knows nothing leaves it to the app's config."""
    with app.test_request_context():
        assert language() == ("en", "ltr")


# -- How long ago ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(0), "just now"),
        (SECOND, "just now"),
        (MINUTE - timedelta(microseconds=1), "just now"),
        (MINUTE, "1 minute ago"),
        (2 * MINUTE - SECOND, "1 minute ago"),
        (2 * MINUTE, "2 minutes ago"),
        (HOUR - timedelta(microseconds=1), "59 minutes ago"),
        (HOUR, "1 hour ago"),
        (2 * HOUR - SECOND, "1 hour ago"),
        (2 * HOUR, "2 hours ago"),
        (DAY - timedelta(microseconds=1), "23 hours ago"),
        (DAY, "1 day ago"),
        (2 * DAY - SECOND, "1 day ago"),
        (2 * DAY, "2 days ago"),
        (400 * DAY, "400 days ago"),
        (-SECOND, "just now"),
        (-DAY, "just now"),
    ],
)
def test_how_long_ago_is_said_as_people_do(passed: timedelta, text: str) -> None:
    """Minutes, hours, days, rounded down; a clock that runs ahead is "just now"."""
    assert time_ago(NOW - passed, NOW) == text


def test_how_long_ago_does_not_depend_on_the_zone() -> None:
    """The same moment in another zone is as long ago."""
    moment = (NOW - HOUR).astimezone(timezone(timedelta(hours=9)))

    assert time_ago(moment, NOW) == "1 hour ago"


def test_how_long_ago_is_translated(app: Flask, ours: Translate) -> None:
    """The words and the plural are the reader's."""
    ours("de", {"just now": "gerade eben", MINUTES: ("vor %(num)d Minute", "vor %(num)d Minuten")})

    with _in(app, "de"):
        assert time_ago(NOW, NOW) == "gerade eben"
        assert time_ago(NOW - MINUTE, NOW) == "vor 1 Minute"
        assert time_ago(NOW - 5 * MINUTE, NOW) == "vor 5 Minuten"
