"""The tutorial's blocks, run in their order in an empty folder."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from tempembed.reports.results import Shown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:<!-- needs (?P<package>\w+) -->\n)?```(?P<language>python|sh)\n(?P<code>.*?)^```$", re.M | re.S)  # fmt: skip


def run_python(code, names):
    """Run a block; the value of its last line, as a notebook shows it."""
    *body, last = ast.parse(code).body
    is_value = isinstance(last, ast.Expr)
    exec(compile(ast.Module(body if is_value else [*body, last], []), str(PAGE), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(PAGE), "eval"), names) if is_value else None


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = list(BLOCK.finditer(PAGE.read_text()))
    assert len(blocks) == PAGE.read_text().count("```") // 2 > 8
    names, shown = {}, []
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for block in blocks:
        if block["package"] and importlib.util.find_spec(block["package"]) is None:
            continue
        if block["language"] == "sh":
            done = subprocess.run(["sh", "-e"], input=block["code"], env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            assert "error" not in done.stderr
            assert "difference" in done.stdout or "diff." in done.stdout
            assert "copy a file" in done.stdout
        elif isinstance(value := run_python(block["code"], names), Shown):
            shown.append(value)
    assert len(names["pairs"]) > 1000
    assert [type(value).__name__ for value in shown][:5] == ["TrainedModel", "Results", "CodecChoice", "Comparison", "Answers"]  # fmt: skip
    assert all("<table>" in value._repr_html_() for value in shown)
    assert names["run"].report.find("ndcg_at_10", "float32", 256).score > 0.2
    assert {row.source for row in names["mixed"].report.by_source} == {"first", "rest"}
    assert "tuned" not in names or names["tuned"].verdict.outcome in ("better", "worse", "undecided")
    assert any(hit.text.startswith("def copy") for hit in shown[4][0])


def test_no_line_is_too_wide_to_read():
    for block in BLOCK.finditer(PAGE.read_text()):
        assert max(map(len, block["code"].splitlines())) <= 130
