"""Bugs on purpose: each is put into a copy of the package, and the suite must find it."""
