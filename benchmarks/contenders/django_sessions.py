"""Django as it comes: sessions in the database, ``django.contrib.auth``."""

from __future__ import annotations

from ._django import make

__all__ = ["make"]
