"""The extensions, made once and put into each app by the factory."""

from __future__ import annotations

from pathlib import Path

from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

from flask_device_sessions import DeviceSessions

db = SQLAlchemy()
migrate = Migrate(directory=str(Path(__file__).parent / "migrations"))
csrf = CSRFProtect()
device_sessions = DeviceSessions()
