"""From a user-agent text to what a person calls the device."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_device_sessions.devices import USER_AGENT_LENGTH, DeviceDescription, describe
from flask_device_sessions.models import DeviceMixin
from flask_device_sessions.testing import FIREFOX, IPHONE, PIXEL, SAFARI

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"{WEBKIT} Chrome/138.0.0.0"


@pytest.mark.parametrize(
    ("user_agent", "name", "device_type", "browser", "system"),
    [
        (FIREFOX, "Linux PC", "desktop", "Firefox 140", "Linux"),
        (SAFARI, "Mac", "desktop", "Safari 18", "macOS"),
        (IPHONE, "iPhone", "mobile", "Mobile Safari 18", "iOS 18.5"),
        (PIXEL, "Pixel 8", "mobile", "Chrome Mobile 138", "Android 15"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/138.0.0.0",
            "Windows PC",
            "desktop",
            "Edge 138",
            "Windows 10",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36",
            "Chromebook",
            "desktop",
            "Chrome 138",
            "ChromeOS",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Linux PC",
            "desktop",
            "Firefox 140",
            "Ubuntu",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "iPad",
            "tablet",
            "Mobile Safari 17",
            "iOS 17.5",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 14; SM-X910) {CHROME} Safari/537.36",
            "SM-X910",
            "tablet",
            "Chrome 138",
            "Android 14",
        ),
        (
            "Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
            "Nokia 8110",
            "other",
            "Firefox Mobile 48",
            "KaiOS 2.5",
        ),
        (
            "Mozilla/5.0 (X11; FreeBSD amd64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "",
            "other",
            "Firefox 140",
            "FreeBSD",
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Googlebot",
            "bot",
            "Googlebot 2",
            "",
        ),
    ],
)
def test_a_device_is_called_what_people_call_it(
    user_agent: str, name: str, device_type: str, browser: str, system: str
) -> None:
    """Common browsers of each kind of device are told apart and named."""
    assert describe(user_agent) == DeviceDescription(name, device_type, browser, system)


@pytest.mark.parametrize(
    ("android", "name", "device_type"),
    [
        ("Android 10; K) " + CHROME + " Mobile Safari/537.36", "Android phone", "mobile"),
        ("Android 10; K) " + CHROME + " Safari/537.36", "Android tablet", "tablet"),
        ("Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Android phone", "mobile"),
    ],
)
def test_a_model_that_browsers_made_up_is_not_shown(
    android: str, name: str, device_type: str
) -> None:
    """Where Android hides its model, the words are "phone" and "tablet", never "K"."""
    description = describe(f"Mozilla/5.0 (Linux; {android}")

    assert (description.name, description.device_type) == (name, device_type)


@pytest.mark.parametrize(
    ("user_agent", "system"),
    [(SAFARI, "macOS"), (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME}", "ChromeOS")],
)
def test_a_frozen_version_is_left_out(user_agent: str, system: str) -> None:
    """A Mac says 10.15 for ever: no number is better than a wrong one."""
    assert describe(user_agent).os == system


@pytest.mark.parametrize(
    ("user_agent", "name", "device_type"),
    [
        ("curl/8.5.0", "curl", "other"),
        ("python-requests/2.32.3", "python-requests", "other"),
        ("PostmanRuntime/7.39.0", "PostmanRuntime", "other"),
        ("okhttp/4.12.0", "okhttp", "other"),
        ("My App/1.0 (build 7)", "My App", "other"),
        ("Googlebot/2.1 (+http://www.google.com/bot.html)", "Googlebot", "bot"),
        ("facebookexternalhit/1.1", "facebookexternalhit", "bot"),
    ],
)
def test_a_program_is_called_by_its_own_name(user_agent: str, name: str, device_type: str) -> None:
    """What introduces itself as ``name/version`` is that program."""
    assert describe(user_agent) == DeviceDescription(name, device_type, browser=name)


def test_a_programs_name_ends_with_its_last_letter() -> None:
    """A space before the slash is no part of the name."""
    assert describe("My App /1.0").name == "My App"


@pytest.mark.parametrize(
    "user_agent",
    [
        "",
        " ",
        "   \u3000",
        "garbage",
        "/",
        "1/2",
        "Mozilla",
        "Mozilla/5.0",
        "-",
        "()",
        "%00",
        "//1",
    ],
)
def test_a_text_that_tells_nothing_gives_the_defaults(user_agent: str) -> None:
    """No guess is made: no name, of type "other"."""
    assert describe(user_agent) == DeviceDescription("", "other", "", "")


@pytest.mark.parametrize(
    "user_agent", ["Mozilla/5.0 (compatible; somebot)", "Mozilla/5.0 (compatible; crawler)"]
)
def test_a_bot_without_a_name_is_still_a_bot(user_agent: str) -> None:
    """A crawler is never taken for a person's device."""
    assert describe(user_agent).device_type == "bot"


@given(st.text(max_size=80) | st.text(st.characters(codec="ascii"), max_size=80))
@example("a" * 10_000)
@example(FIREFOX + "\x00\ud800")
@example("Mozilla/5.0 (" + "(" * 400)
def test_any_text_is_described(user_agent: str) -> None:
    """No text makes it fail, and the type is always one of five."""
    description = describe(user_agent)

    assert description.device_type in {"desktop", "mobile", "tablet", "bot", "other"}
    assert all(isinstance(part, str) for part in description)


def test_what_is_over_the_length_is_ignored() -> None:
    """The end of an overlong text changes nothing."""
    padded = FIREFOX.ljust(USER_AGENT_LENGTH)

    assert describe(padded + IPHONE) == describe(padded) == describe(FIREFOX)


@pytest.mark.parametrize(
    "user_agent",
    [
        f"Mozilla/5.0 (Linux; Android {'1' * 300}; Pixel 8) {CHROME} Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 10; {'X' * 300} Build/A) {CHROME} Mobile Safari/537.36",
        f"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/{'1' * 300}.0",
        f"Mozilla/5.0 (Windows NT {'1' * 300}.0) {CHROME}",
        f"Mozilla/5.0 (iPhone; CPU iPhone OS {'1' * 150}_{'2' * 150} like Mac OS X) {WEBKIT}",
        "A" * 300 + "/1",
        "A" * 40 + "/1",
    ],
    ids=["android", "model", "firefox", "windows", "ios", "program", "longest-program"],
)
def test_each_part_fits_its_column(user_agent: str) -> None:
    """A hostile text is no reason for the database to refuse a login."""
    description = describe(user_agent)

    for part in ("browser", "os", "device_type"):
        column = getattr(DeviceMixin, part).column
        assert len(getattr(description, part)) <= column.type.length, part
    assert len(description.name) <= DeviceMixin.name.column.type.length


def test_an_answer_is_remembered() -> None:
    """The same browser is parsed once, however many requests it makes."""
    describe.cache_clear()

    assert describe(PIXEL) is describe(PIXEL)
    assert describe.cache_info().hits == 1


def test_the_memory_of_answers_is_bounded() -> None:
    """A stranger who sends ever new texts fills no memory."""
    assert describe.cache_info().maxsize is not None


def test_the_parser_is_not_loaded_before_it_is_needed() -> None:
    """Importing the package, and describing an empty text, costs no parser tables."""
    code = (
        "import sys, flask_device_sessions.devices as d; d.describe('');"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'ua_parser', 'user_agents'}))"
    )

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert answer.stdout.decode().strip() == "[]"


@pytest.mark.parametrize(
    ("user_agent", "browser", "system"),
    [
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1)", "IE 8", "Windows XP"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} Safari/537.36", "Chrome 138", "Linux"),
        (IPHONE.replace("18_5", "18_0"), "Mobile Safari 18", "iOS 18.0"),
        (IPHONE.replace("Version/18.5 ", ""), "Mobile Safari", "iOS 18.5"),
    ],
)
def test_a_version_is_shown_as_far_as_it_is_known(
    user_agent: str, browser: str, system: str
) -> None:
    """Major version of the browser, major and minor of the system, or the bare name."""
    description = describe(user_agent)

    assert (description.browser, description.os) == (browser, system)
