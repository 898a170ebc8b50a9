"""The example app behind a real server, and headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from werkzeug.serving import make_server

from example_app import create_app
from example_app.demo import seed
from example_app.extensions import db
from tests.engines import IS_COMPLETE

Open = Callable[[str], Chrome]


class Site(NamedTuple):
    """The running app."""

    address: str
    email: str
    password: str


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The example app with its demo accounts, served on loopback."""
    config = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'demo.sqlite'}"}
    app = create_app(config, instance_path=str(tmp_path))
    with app.app_context():
        db.create_all()
        passwords = seed()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    email, password = next(iter(passwords.items()))
    yield Site(f"http://127.0.0.1:{server.server_port}", email, password)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_browser(tmp_path: Path) -> Iterator[Open]:
    """Opens Chromium with a profile of its own: each is a device."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        assert not IS_COMPLETE, "chromium and chromedriver must be there: `make services`"
        pytest.skip("Chromium is not installed")
    browsers: list[Chrome] = []

    def open_one(name: str) -> Chrome:
        browser = Chrome(
            options=_options(tmp_path / name), service=ChromeService(shutil.which("chromedriver"))
        )
        browsers.append(browser)
        return browser

    yield open_one
    for browser in browsers:
        browser.quit()


@pytest.fixture
def keep_picture() -> Callable[[Chrome, str], None]:
    """Keeps a screenshot in the folder that DEVICE_SESSIONS_SCREENSHOTS names, if it does."""
    folder = os.environ.get("DEVICE_SESSIONS_SCREENSHOTS")

    def keep(browser: Chrome, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            browser.save_screenshot(str(Path(folder) / f"{name}.png"))

    return keep


def _options(profile: Path) -> ChromeOptions:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1000,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    return options
