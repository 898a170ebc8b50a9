"""The virtual environment of the benchmarks: the released peers beside this checkout.

Made anew when ``requirements.txt``, ``pyproject.toml`` or the Python has changed. Nothing here
needs more than the standard library.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venvs" / "bench"
PYTHON = FOLDER / "bin" / "python"

_STAMP = FOLDER / "stamp"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def is_ready() -> bool:
    """Whether the environment is there and up to date."""
    return _STAMP.is_file() and _STAMP.read_text() == _wanted_stamp()


def ensure() -> None:
    """Make the environment, unless it is ready."""
    if is_ready():
        return
    print(f"Installing the peers into {FOLDER.relative_to(ROOT)} ...", file=sys.stderr)
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    install = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", _REQUIREMENTS)
    subprocess.run([PYTHON, *install], check=True, cwd=ROOT)
    _STAMP.write_text(_wanted_stamp())


def enter() -> None:
    """Go on with the same command inside the environment; does nothing when already there."""
    if Path(sys.prefix) == FOLDER:
        return
    ensure()
    os.chdir(ROOT)
    os.execv(PYTHON, [str(PYTHON), "-m", "benchmarks", *sys.argv[1:]])


def _wanted_stamp() -> str:
    files = (_REQUIREMENTS, ROOT / "pyproject.toml")
    content = b"".join(file.read_bytes() for file in files) + sys.version.encode()
    return hashlib.sha256(content).hexdigest()
