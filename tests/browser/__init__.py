"""A real browser and a real server."""
