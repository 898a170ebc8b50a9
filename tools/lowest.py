"""Print the lowest supported versions, as pip constraints, from the bounds in pyproject.toml.

``pip install -c <(python tools/lowest.py) '.[dev]'`` then installs exactly the floors of the
package and of its extras. The tools of ``dev`` itself stay as new as they come.
"""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[.*])?>=(?P<floor>[0-9.]+)(?P<marker>\s*;.*)?")


def lowest(pyproject: Path) -> list[str]:
    """One ``name==floor`` for each requirement; one that is no plain lower bound is refused."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + [
        requirement for extra in extras if extra != "dev" for requirement in extras[extra]
    ]
    pins = []
    for requirement in requirements:
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise SystemExit(f"{pyproject}: {requirement!r} is not a plain lower bound (name>=1.2)")
        pins.append(f"{bound['name']}=={bound['floor']}{bound['marker'] or ''}")
    return pins


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parent.parent / "pyproject.toml")))
