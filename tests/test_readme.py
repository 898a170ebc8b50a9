"""The README: what a stranger pastes from it works."""

from __future__ import annotations

import re
from pathlib import Path

import flask_device_sessions

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_readme_shows_the_quickstart() -> None:
    """The app in the README is the one that the tests of the documentation run."""
    shown = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    assert shown == [(ROOT / "docs/snippets/quickstart.py").read_text("utf-8")]


def test_quickstart_is_short() -> None:
    """A complete app takes 25 lines at most, not counting empty ones."""
    lines = (ROOT / "docs/snippets/quickstart.py").read_text("utf-8").splitlines()

    assert len([line for line in lines if line]) <= 25


def test_readme_names_commands_that_exist() -> None:
    """Each ``make`` command of the README is a target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    named = set(re.findall(r"make ([a-z-]+)$|`make ([a-z-]+)`", README, re.MULTILINE))

    assert {"demo", "test"} <= {name for pair in named for name in pair} - {""} <= set(targets)


def test_readme_links_to_files_that_exist() -> None:
    """Each relative link leads somewhere."""
    links = re.findall(r"\]\((?!http)([^)#]+)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_and_package_say_the_same() -> None:
    """The first sentence of both says what this is."""
    sentence = (flask_device_sessions.__doc__ or "").rstrip(".")

    assert README.splitlines()[2].replace("and know", "know").rstrip(".") == sentence
