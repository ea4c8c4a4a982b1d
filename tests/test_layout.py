"""The house stands as drawn. Which room may import which is a contract in pyproject.toml, which `make check` holds."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [p for folder in ("tempembed", "ray_jobs") for p in sorted((ROOT / folder).rglob("*.py"))]


def house():
    spec = importlib.util.spec_from_file_location("draw_house", ROOT / "docs" / "draw_house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_picture_is_the_contract():
    assert house().svg() == house().PICTURE.read_text(), "python docs/draw_house.py draws it anew"


def test_the_page_names_every_room():
    page = (ROOT / "docs" / "design" / "house.md").read_text()
    table = page[page.index("## The rooms") :]
    assert not [room for floor in house().floors() for room in floor if f"`{room}`" not in table]


def test_private_names_stay_in_their_module():
    assert len(SOURCES) > 150
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tempembed", "ray_jobs")):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{path.relative_to(ROOT)} imports {private} of {node.module}"


CITED = re.compile(
    r"(?<![\w/{])(?:docs|dashboards|benchmarks)/(?!source_en)[\w./-]+\.(?:md|png|svg)|SECURITY\.md|CONTRIBUTING\.md"
)


@pytest.mark.parametrize("folder", ["tempembed", "ray_jobs", "tests", "docs", "dashboards", "benchmarks"])
def test_documents_that_are_cited_are_there(folder):
    files = [p for suffix in ("py", "md") for p in (ROOT / folder).rglob(f"*.{suffix}")]
    cited = {(p.relative_to(ROOT), name) for p in files for name in CITED.findall(p.read_text())}
    assert not [(str(path), name) for path, name in cited if not (ROOT / name).exists()]


def test_one_file_starts_a_ray():
    """A machine holds one Ray, and `make test` runs files side by side."""
    aside = ("faults", "cluster", "dashboards", "security")  # have targets of their own
    marked = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"mark\.ray\b", path.read_text()) and path.parent.name not in aside
    ]
    assert [path.name for path in marked] == ["test_jobs.py"]


def test_one_file_sends_work_to_processes():
    """Others would run a user's script again, which may have no `if __name__ == "__main__"`."""
    senders = [
        path for path in (ROOT / "tempembed").rglob("*.py") if "ProcessPoolExecutor" in path.read_text()
    ]
    assert [path.name for path in senders] == ["in_order.py"]
