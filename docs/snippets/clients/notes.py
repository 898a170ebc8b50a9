"""Sign in, read, sign out: ``pip install requests``, then ``python notes.py EMAIL PASSWORD``."""

import os
import sys

import requests

SERVER = os.environ.get("SERVER", "http://127.0.0.1:5000")


class Client(requests.Session):
    def sign_in(self, email, password):
        body = {"identifier": email, "password": password, "name": "notes.py"}
        answer = self.post(f"{SERVER}/api/session", json=body)
        answer.raise_for_status()
        self.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def sessions(self):
        query = {}
        while True:
            page = self.get(f"{SERVER}/api/sessions", params=query).json()
            yield from page["sessions"]
            if page["next"] is None:
                return
            query = {"cursor": page["next"]}

    def sign_out(self):
        self.delete(f"{SERVER}/api/session").raise_for_status()


with Client() as client:
    client.sign_in(*sys.argv[1:])
    for session in client.sessions():
        print(session["name"], "(this one)" if session["is_current"] else "")
    for note in client.get(f"{SERVER}/api/notes.json").json()["notes"]:
        print("-", note["source"])
    client.sign_out()
