"""What the source may not do: unpickle, load with code, or run a string."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNPICKLE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
ALLOWED = {
    "tempembed/parallel/pool.py": "results of its own child processes, through a pipe; nothing from a file or a socket",
}


def sources():
    return [p for folder in ("tempembed", "ray_jobs") for p in sorted((ROOT / folder).rglob("*.py"))]


def dotted(node):
    """`a.b.c` of a call's function, as far as it is names."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *parts[::-1]] if isinstance(node, ast.Name) else parts[::-1])


def constant(call, name):
    """The value of a keyword argument; an expression is as bad as a missing one."""
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def offences(source):
    """(line, what) of each call or import that could run code from data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from ((node.lineno, f"import {n}") for n in names if n.split(".")[0] in UNPICKLE)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        last = name.rsplit(".", 1)[-1]
        keywords = {k.arg for k in node.keywords}
        if name == "torch.load" and constant(node, "weights_only") is not True:
            yield node.lineno, "torch.load without weights_only=True"
        if "allow_pickle" in keywords and constant(node, "allow_pickle") is not False:
            yield node.lineno, "allow_pickle"
        if "trust_remote_code" in keywords and constant(node, "trust_remote_code") is not False:
            yield node.lineno, "trust_remote_code"
        if last == "SentenceTransformer" and keywords.isdisjoint({"modules", "trust_remote_code"}):
            yield node.lineno, "SentenceTransformer without trust_remote_code=False"
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"):
            yield node.lineno, name
        if name in (
            "pd.read_pickle",
            "pandas.read_pickle",
            "read_pickle",
            "Tuner.restore",
            "tune.Tuner.restore",
        ):
            yield node.lineno, f"{name} reads a pickle"
        if name in ("eval", "exec", "os.system", "os.popen") or constant(node, "shell") is True:
            yield node.lineno, name


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "SentenceTransformer(name)",
        "tune.Tuner.restore(path)",
        "subprocess.run(line, shell=True)",
        "eval(text)",
    ],
)
def test_the_check_sees(line):
    assert list(offences(line))


@pytest.mark.parametrize(
    "line", ["torch.load(path, weights_only=True)", "np.load(path)", "model.eval()", "yaml.safe_load(text)"]
)
def test_the_check_lets_pass(line):
    assert not list(offences(line))


def test_no_source_runs_code_from_data():
    found = {str(p.relative_to(ROOT)): list(offences(p.read_text())) for p in sources()}
    assert len(found) > 100
    assert {name for name, lines in found.items() if lines} == ALLOWED.keys(), {
        name: lines for name, lines in found.items() if lines and name not in ALLOWED
    }
