"""Puts a report into the documentation, between the two comments that name its mode."""

from __future__ import annotations

from .environment import ROOT

PAGE = ROOT / "docs" / "performance.md"


def put(mode: str, report: str) -> None:
    """Replace what the page has of a mode.

    Raises:
        ValueError: the page has no place for it.
    """
    text = PAGE.read_text("utf-8")
    begin, end = f"<!-- begin {mode} -->\n", f"<!-- end {mode} -->"
    before, after = text.index(begin) + len(begin), text.index(end)
    PAGE.write_text(f"{text[:before]}\n{report}\n\n{text[after:]}", "utf-8")
