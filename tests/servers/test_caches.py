"""A real cache in front of the app: nobody is handed what is somebody else's."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.serving import make_server

from tests import engines
from tests.support import PASSWORD, add_user, db, make_app

pytestmark = pytest.mark.servers

#: How long a server may take to answer for the first time, in seconds.
PATIENCE = 30.0

_NGINX = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache keys_zone=all:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_cache all;
      proxy_cache_key $request_uri;
      proxy_cache_valid any 10m;
      add_header X-Cache $upstream_cache_status always;
    }}
  }}
}}
"""

# Unlike its default, it looks requests with cookies up: what Vary is for.
_VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{backend}"; }}
sub vcl_recv {{ if (req.method == "GET" || req.method == "HEAD") {{ return (hash); }} }}
sub vcl_deliver {{ if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} }}
"""


class Caller:
    """A browser that keeps its cookies, one connection a request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, form: dict[str, str] | None = None) -> tuple[str, dict[str, Any]]:
        """Return the body and the headers of the answer."""
        headers = {"Cookie": "; ".join(f"{name}={text}" for name, text in self.cookies.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)) as line:
            method = "GET" if form is None else "POST"
            line.request(method, path, None if form is None else urlencode(form), headers)
            answer = line.getresponse()
            body = answer.read().decode()
        for header in answer.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
        return body, dict(answer.headers)

    def sign_in(self, email: str) -> None:
        """Send the login form."""
        self.ask("/login", {"identifier": email, "password": PASSWORD})


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[int]:
    """The app behind the cache: its port."""
    app = make_app(f"sqlite:///{tmp_path / 'app.db'}")
    _add_public_view(app)
    with app.app_context():
        db.create_all()
        for name in ("ada", "ben"):
            add_user(f"{name}@example.com")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    with app.app_context():
        db.engine.dispose()


def _add_public_view(app: Flask) -> None:
    counter = iter(range(1000))

    @app.get("/public")
    def public() -> Any:
        return str(next(counter)), {"Cache-Control": "public, max-age=60"}


@pytest.fixture(params=["nginx", "varnish"])
def cache(request: pytest.FixtureRequest, tmp_path: Path, backend: int) -> Iterator[int]:
    """A cache in front of the app: its port."""
    program = "varnishd" if request.param == "varnish" else "nginx"
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        assert not engines.IS_COMPLETE, f"{program} must be there: `make services`"
        pytest.skip(f"{program} is not installed")
    port = _free_port()
    command = _command_of(request.param, path, tmp_path, port, backend)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()


def _command_of(name: str, path: str, folder: Path, port: int, backend: int) -> list[str]:
    facts = {"folder": folder, "port": port, "backend": backend}
    config = folder / "config"
    if name == "nginx":
        config.write_text(_NGINX.format(**facts))
        return [path, "-p", str(folder), "-c", str(config), "-g", "daemon off; user root;"]
    config.write_text(_VARNISH.format(**facts))
    where = ["-n", str(folder / "varnish"), "-a", f"127.0.0.1:{port}"]
    return [path, "-F", "-j", "none", *where, "-f", str(config), "-s", "malloc,8m"]


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _answers(port):
        assert process.poll() is None, "the cache did not start"
        assert time.monotonic() < deadline, "the cache does not answer"
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_the_cache_does_cache(cache: int) -> None:
    """What an app marks as public is kept, so that the other test says something."""
    bodies = [Caller(cache).ask("/public") for _ in range(3)]

    assert {body for body, _ in bodies} == {"0"}
    assert bodies[-1][1]["X-Cache"] == "HIT"


def test_nobody_is_handed_what_is_somebody_elses(cache: int) -> None:
    """Pages of ours, views of the app, cookies: each gets their own (ASVS V14.2.2, V14.3.2)."""
    ada, ben, nobody = (Caller(cache) for _ in range(3))
    ada.sign_in("ada@example.com")
    ben.sign_in("ben@example.com")
    jars = [dict(caller.cookies) for caller in (ada, ben)]
    seen: dict[str, set[str | None]] = {"ada": set(), "ben": set(), "nobody": set()}
    paths = ("/whoami", "/private", "/devices/", "/login", "/confirm", "/missing")
    callers = {"ada": ada, "ben": ben, "nobody": nobody}

    for path in paths * 3:
        for name, caller in callers.items():
            body, headers = caller.ask(path)
            seen[name] |= {who for who in ("ada@example.com", "ben@example.com") if who in body}
            seen[name] |= {headers.get("Set-Cookie") and "a cookie"}

    assert seen["ada"] - {None} == {"ada@example.com"}
    assert seen["ben"] - {None} == {"ben@example.com"}
    assert seen["nobody"] <= {None, "a cookie"}  # the app's own, for a message
    assert [jars[0]["device_session"], jars[1]["device_session"]] == [
        ada.cookies["device_session"],
        ben.cookies["device_session"],
    ]
    assert "device_session" not in nobody.cookies


def test_a_page_that_was_seen_signed_in_is_not_seen_signed_out(cache: int) -> None:
    """After a sign-out the cache has nothing left to show (ASVS V14.3.1)."""
    ada = Caller(cache)
    ada.sign_in("ada@example.com")
    before = [ada.ask("/devices/")[0] for _ in range(2)]

    ada.ask("/logout", {})

    assert all("Your devices" in body for body in before)
    assert "Your devices" not in ada.ask("/devices/")[0]
    assert "ada@example.com" not in ada.ask("/whoami")[0]
