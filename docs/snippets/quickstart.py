from flask import Flask, render_template_string
from flask_login import UserMixin, login_required
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from flask_device_sessions import DeviceSessions

app = Flask(__name__)
app.config.update(SECRET_KEY="dev", SQLALCHEMY_DATABASE_URI="sqlite:///quickstart.sqlite")
db = SQLAlchemy(app)


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]

    def check_password(self, password):
        return check_password_hash(self.password_hash, password)


device_sessions = DeviceSessions(app)


@app.get("/")
@login_required
def index():
    return render_template_string("{{ current_user.email }}: <a href='/devices/'>your devices</a>")


with app.app_context():
    db.create_all()
    ada = User(id=1, email="ada@example.com", password_hash=generate_password_hash("hello"))
    db.session.merge(ada)
    db.session.commit()
