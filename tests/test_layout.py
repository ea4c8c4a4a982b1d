"""The house stands as drawn: arrows point down, and every module stands in a room."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EDGES = {
    "ray": ["ray_jobs"],
    "mlflow": ["tempembed/tracking/mlflow.py", "tempembed/tracking/registry.py"],
    "mteb": ["tempembed/evaluation"],
}
LOOSE = {"__init__", "cli"}
"""Modules that stand in no room."""
ROOMS = (
    "system", "objectives", "parallel", "losses", "codecs", "geometry", "inputs", "encoders", "settings", "data", "index",
    "evaluation", "export", "run", "stages", "diagnostics", "tuning", "tracking", "reproduction", "reports", "commands",
)  # fmt: skip
"""From the ground up: a room imports from itself and from those before it. docs/design draws them."""
BEYOND = {("run", "stages")}
"""Arrows that point up still."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources():
    return [p for folder in ("tempembed", "ray_jobs") for p in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("library", EDGES)
def test_edges(library):
    found = {
        str(p.relative_to(ROOT)) for p in sources() if any(n.split(".")[0] == library for n in imports(p))
    }
    assert all(any(name.startswith(edge) for edge in EDGES[library]) for name in found), found
    assert found or library == "mteb"


def test_every_module_stands_in_a_room():
    found = {path.relative_to(ROOT / "tempembed").parts for path in (ROOT / "tempembed").rglob("*.py")}
    assert {Path(parts[0]).stem for parts in found if len(parts) == 1} == LOOSE
    assert {parts[0] for parts in found if len(parts) > 1} == set(ROOMS)


def test_arrows_point_down():
    checked = 0
    for path in sources():
        name = path.relative_to(ROOT)
        for module in imports(path):
            if name.parts[0] == "tempembed":
                assert not module.startswith("ray_jobs"), f"{name} imports {module}"
            if name.parts[0] == "tempembed" and len(name.parts) > 2 and module.startswith("tempembed."):
                here, there = name.parts[1], module.split(".")[1]
                assert there in ROOMS, f"{name} imports {module}"
                if (here, there) not in BEYOND:
                    assert ROOMS.index(there) <= ROOMS.index(here), f"{name} imports {module}"
                checked += 1
    assert checked > 500


def test_private_names_stay_in_their_module():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tempembed", "ray_jobs")):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{path.relative_to(ROOT)} imports {private} of {node.module}"
