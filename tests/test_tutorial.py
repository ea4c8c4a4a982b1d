"""The tutorial's blocks, run in their order in an empty folder."""

import ast
import importlib.util
import re
import shlex
import sysconfig
from pathlib import Path

from tempembed.reports.results import Shown
from tests.commands import tempembed

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:<!-- needs (?P<package>\w+) -->\n)?```(?P<language>python|sh)\n(?P<code>.*?)^```$", re.M | re.S)  # fmt: skip


def run_python(code, names):
    """Run a block; the value of its last line, as a notebook shows it."""
    *body, last = ast.parse(code).body
    is_value = isinstance(last, ast.Expr)
    exec(compile(ast.Module(body if is_value else [*body, last], []), str(PAGE), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(PAGE), "eval"), names) if is_value else None


def run_shell(code):
    """What the commands of a block print."""
    out = ""
    for line in code.replace("\\\n", "").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "tempembed"
        done = tempembed(*arguments)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "error" not in done.stderr
        out += done.stdout
    return out


def a_third_of_the_library(folder):
    """Modules from p to s, shutil among them: 800 documented functions."""
    folder.mkdir()
    for path in Path(sysconfig.get_paths()["stdlib"]).glob("[p-s]*.py"):
        (folder / path.name).symlink_to(path)
    return folder


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    paths = {**sysconfig.get_paths(), "stdlib": str(a_third_of_the_library(tmp_path / "library"))}
    monkeypatch.setattr(sysconfig, "get_paths", lambda *_, **__: paths)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    blocks = list(BLOCK.finditer(PAGE.read_text()))
    assert len(blocks) == PAGE.read_text().count("```") // 2 > 8
    names, shown = {}, []
    for block in blocks:
        if block["package"] and importlib.util.find_spec(block["package"]) is None:
            continue
        if block["language"] == "sh":
            printed = run_shell(block["code"])
            assert "difference" in printed or "diff." in printed
            assert re.search(
                r"^copy a file\n.*\n +1 .*  def ", printed, re.M
            )  # a query, a head, an answer with its text
        elif isinstance(value := run_python(block["code"], names), Shown):
            shown.append(value)
    assert len(names["pairs"]) > 600
    assert [type(value).__name__ for value in shown][:5] == ["TrainedModel", "Results", "CodecChoice", "Comparison", "Answers"]  # fmt: skip
    assert all("<table>" in value._repr_html_() for value in shown)
    assert names["run"].report.find("ndcg_at_10", "float32", 256).score > 0.2
    assert {row.source for row in names["mixed"].report.by_source} == {"first", "rest"}
    assert "tuned" not in names or names["tuned"].verdict.outcome in ("better", "worse", "undecided")
    assert any(hit.text.startswith("def copy") for hit in shown[4][0])


def test_no_line_is_too_wide_to_read():
    for block in BLOCK.finditer(PAGE.read_text()):
        assert max(map(len, block["code"].splitlines())) <= 130
