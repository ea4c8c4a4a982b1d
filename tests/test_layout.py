"""The house stands as drawn: arrows point down."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EDGES = {
    "ray": ["ray_jobs"],
    "mlflow": ["tempembed/tracking/mlflow.py", "tempembed/tracking/registry.py"],
    "mteb": ["tempembed/evaluation"],
}
# folder -> packages of ours that it may import from, itself aside
ALLOWED = {
    "tempembed/losses": {"objective", "parallel", "temperature", "errors"},
    "tempembed/parallel": {"errors"},
    "tempembed/compression": {"errors", "untrusted"},
    "tempembed/geometry": {"errors"},
    "tempembed/encoders": {"data", "errors", "untrusted", "hub"},
    "tempembed/evaluation": {
        "data",
        "encoders",
        "compression",
        "geometry",
        "errors",
        "atomic",
        "names",
        "untrusted",
        "checksums",
    },
    "tempembed/handover": {
        "data",
        "encoders",
        "compression",
        "settings",
        "errors",
        "atomic",
        "names",
        "untrusted",
    },
    "tempembed/reproduction": {
        "compression",
        "evaluation",
        "settings",
        "errors",
        "encoders",
        "geometry",
        "data",
        "untrusted",
    },
    "tempembed/search": {"objective", "errors", "atomic", "settings", "evaluation", "run_folder", "names"},
    "tempembed/report": {"evaluation", "reproduction", "compression", "geometry"},
    "tempembed/tracking": {
        "disk",
        "objective",
        "errors",
        "names",
        "redact",
        "search",
        "compression",
        "evaluation",
        "untrusted",
    },
    "tempembed/data": {
        "errors",
        "untrusted",
        "places",
        "checksums",
    },  # places: only for the cache folder, inside a function
}


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


def test_arrows_point_down():
    checked = 0
    for path in sources():
        name = str(path.relative_to(ROOT))
        for module in imports(path):
            assert not (module.startswith("ray_jobs") and name.startswith("tempembed")), (
                f"{name} imports {module}"
            )
            above = ("tempembed.cli", "tempembed.commands")
            assert name.startswith(
                ("tempembed/cli", "tempembed/commands", "ray_jobs")
            ) or not module.startswith(above), name
            folder = next((f for f in ALLOWED if name.startswith(f + "/")), None)
            if folder and module.startswith("tempembed."):
                package = module.split(".")[1]
                assert package in ALLOWED[folder] | {folder.split("/")[1]}, f"{name} imports {module}"
                checked += 1
    assert checked > 20


def test_private_names_stay_in_their_module():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tempembed", "ray_jobs")):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{path.relative_to(ROOT)} imports {private} of {node.module}"
