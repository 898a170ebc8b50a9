"""The main story with two real browsers, as a person would live it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from .conftest import Open, Site

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

Keep = Callable[[Chrome, str], None]


def _sign_in(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.address}/login")
    browser.find_element(By.NAME, "identifier").send_keys(site.email)
    browser.find_element(By.NAME, "password").send_keys(site.password)
    browser.find_element(By.CSS_SELECTOR, "main button[type=submit]").click()


def _text(browser: Chrome) -> str:
    # At one go: an element that was found may be gone when it is read.
    return str(browser.execute_script("return document.body ? document.body.innerText : ''"))


def _press(browser: Chrome, label: str) -> None:
    path = f"//main//button[contains(., '{label}')]"
    browser.find_element(By.XPATH, path).click()


def _wait_for(browser: Chrome, text: str) -> None:
    WebDriverWait(browser, 30).until(lambda b: text in _text(b))


@pytest.fixture
def browsers(site: Site, open_browser: Open) -> tuple[Chrome, Chrome]:
    """Two browsers, signed in, each at the list of devices."""
    pair = (open_browser("first"), open_browser("second"))
    for browser in pair:
        _sign_in(browser, site)
        _wait_for(browser, "Notes")
    for browser in pair:
        browser.get(f"{site.address}/devices/")
    return pair


def test_one_browser_signs_the_other_out(
    site: Site, browsers: tuple[Chrome, Chrome], keep_picture: Keep
) -> None:
    """Both are listed; one click in the first, and the second is out and told why."""
    first, second = browsers
    keep_picture(first, "devices")
    listed = _text(first)

    _press(first, "Sign out all other devices")
    _wait_for(first, "1 device was signed out.")
    keep_picture(first, "devices-after")
    second.get(f"{site.address}/devices/")
    keep_picture(second, "login-after")

    assert "Signed in on 2 devices" in listed
    assert "You were signed out from another device." in _text(second)


def test_a_device_is_renamed_and_one_is_signed_out(
    site: Site, browsers: tuple[Chrome, Chrome], keep_picture: Keep
) -> None:
    """A name typed in one browser shows in the other; one row's button ends that one."""
    first, second = browsers
    first.find_element(By.CSS_SELECTOR, ".ds-row--current summary").click()
    name = first.find_element(By.CSS_SELECTOR, ".ds-row--current input[name=name]")
    name.send_keys("Desk by the window")
    _press(first, "Save")
    _wait_for(first, "The device has its new name.")
    second.get(f"{site.address}/devices/")
    keep_picture(second, "devices-renamed")
    seen = _text(second)

    second.find_element(By.CSS_SELECTOR, "button[aria-label='Sign out Desk by the window']").click()
    _wait_for(second, "1 device was signed out.")
    first.get(f"{site.address}/devices/")

    assert "Desk by the window" in seen
    assert "You were signed out from another device." in _text(first)


def test_signing_out_everywhere_leads_to_the_login_page(
    site: Site, browsers: tuple[Chrome, Chrome]
) -> None:
    """Both browsers are out."""
    first, second = browsers

    _press(first, "Sign out everywhere")
    _wait_for(first, "2 devices were signed out.")
    second.get(f"{site.address}/devices/")

    assert first.current_url.startswith(f"{site.address}/login")
    assert second.current_url.startswith(f"{site.address}/login")


def test_the_pages_work_under_their_own_policy(site: Site, open_browser: Open) -> None:
    """Nothing on them is blocked by the Content-Security-Policy that they send (ASVS V3.4.3)."""
    browser = open_browser("first")
    _sign_in(browser, site)
    _wait_for(browser, "Notes")
    browser.get(f"{site.address}/devices/")

    complaints = [
        line["message"]
        for line in browser.get_log("browser")  # type: ignore[no-untyped-call]
        if "Content Security Policy" in line["message"]
    ]

    assert complaints == []
