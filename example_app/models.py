"""People, and the passages they keep."""

from __future__ import annotations

from datetime import date, datetime, timezone

import sqlalchemy as sa
from flask_login import UserMixin
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash

from .extensions import db


def _today() -> date:
    return datetime.now(timezone.utc).date()


class User(UserMixin, db.Model):  # type: ignore[name-defined]
    """A person with an account."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    joined_on: Mapped[date] = mapped_column(default=_today)
    notes: Mapped[list[Note]] = relationship(
        back_populates="user", order_by="Note.id.desc()", cascade="all, delete-orphan"
    )

    def set_password(self, password: str) -> None:
        """Keep the hash of a new password."""
        self.password_hash = generate_password_hash(password)

    def check_password(self, password: str) -> bool:
        """Whether this is the person's password."""
        return check_password_hash(self.password_hash, password)


class Note(db.Model):  # type: ignore[name-defined]
    """A passage that one person keeps, and where it is from."""

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(sa.Text)
    source: Mapped[str] = mapped_column(sa.String(200), default="")
    kept_on: Mapped[date] = mapped_column(default=_today)
    user: Mapped[User] = relationship(back_populates="notes")
