"""How Sphinx builds these pages: ``make docs``."""

from importlib.metadata import version as version_of

project = "Flask-Device-Sessions"
author = "Flask-Device-Sessions contributors"
copyright = author
release = version = version_of("Flask-Device-Sessions")

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Flask-Device-Sessions {release}"
