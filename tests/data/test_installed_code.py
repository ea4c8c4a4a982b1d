import importlib.metadata
import json

import numpy
import pyarrow.parquet as pq
import pytest

from tempembed.data.installed_code import extract_pairs, installed_code, packages
from tempembed.data.split import normalise

SOURCE = '''
class Box:
    @property
    def size(self):
        """Return how many items lie in this box.

        More text that is no part of the query.
        """
        return len(self.items)

async def fetch(url):
    "Fetch the page at this address over the network."
    if url:
        return await get(url)

def short(x):
    """Too few words."""
    return x

def empty(x):
    """A function that has a description but no body."""
    raise NotImplementedError

def outer():
    def inner(a):
        """Add one to the given number and return it."""
        return a + 1
    return inner
'''


def test_extract_pairs():
    pairs = extract_pairs(SOURCE, "torch.nn.modules")
    assert [query for query, _, _ in pairs] == [
        "Return how many items lie in this box.",
        "Fetch the page at this address over the network.",
        "Add one to the given number and return it.",
    ]
    assert pairs[0][1] == "def size(self):\n    return len(self.items)"
    assert pairs[1][1] == "async def fetch(url):\n    if url:\n        return await get(url)"
    assert pairs[2][1] == "def inner(a):\n    return a + 1"
    assert {label for _, _, label in pairs} == {"torch.nn"}


def write_package(root, num, salt=""):
    for package in ("alpha", "beta"):
        folder = root / package
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(num):
            text = f'def f{i}(x):\n    """Compute the {package} value number {i} {salt} from the input."""\n    return x + {i} + len("{package}")\n'
            (folder / f"m{i}.py").write_text(text)
    (root / "alpha" / "broken.py").write_text("def f(:\n")
    (root / "beta" / "tests").mkdir(exist_ok=True)
    (root / "beta" / "tests" / "t.py").write_text(
        'def t():\n    """This test function must never be read at all."""\n    return 1\n'
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    write_package(root, 60)
    cache = tmp_path_factory.mktemp("cache")
    code = installed_code(cache, num_test=60, roots=[root], versions=[["alpha", "1"]])
    return root, cache, code


def test_build(built, tmp_path):
    root, _, code = built
    train, test = pq.read_table(code.train), pq.read_table(code.test)
    assert (len(train), len(test)) == (60, 60)
    for column in ("query", "document"):
        sides = [{normalise(t) for t in part[column].to_pylist()} for part in (train, test)]
        assert not sides[0] & sides[1]
    labels = test["label"].to_pylist()
    assert all(label is None or labels.count(label) >= 25 for label in labels)
    assert json.loads(code.manifest.read_text())["counts"]["files that do not parse"] == 1
    again = installed_code(tmp_path, num_test=60, roots=[root], versions=[["alpha", "1"]])
    assert again.train.read_bytes() == code.train.read_bytes()
    assert again.test.read_bytes() == code.test.read_bytes()


def test_cache_is_used_rebuilt_and_repaired(built):
    root, cache, code = built
    stamp = code.train.stat().st_mtime_ns
    same = installed_code(cache, num_test=60, roots=[root], versions=[["alpha", "1"]])
    assert same == code
    assert code.train.stat().st_mtime_ns == stamp
    other = installed_code(cache, num_test=60, roots=[root], versions=[["alpha", "2"]])
    assert other.train != code.train
    content = code.train.read_bytes()
    code.train.write_bytes(content[:100])
    installed_code(cache, num_test=60, roots=[root], versions=[["alpha", "1"]])
    assert code.train.read_bytes() == content
    assert not list(cache.glob(".partial-*"))


def test_what_else_is_on_the_path_makes_no_other_corpus(tmp_path, monkeypatch):
    """Ray puts packages of its own on the path of a job; the command line beside it must find the job's corpus."""
    before = packages()
    extra = tmp_path / "colorama-0.4.6.dist-info"
    extra.mkdir()
    (extra / "METADATA").write_text("Metadata-Version: 2.1\nName: colorama-of-ray\nVersion: 0.4.6\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert any(d.metadata["Name"] == "colorama-of-ray" for d in importlib.metadata.distributions())
    assert packages() == before
    assert ["numpy", numpy.__version__] in [package[:2] for package in before]


def test_a_package_that_was_built_anew_under_its_version_is_another(tmp_path, monkeypatch):
    from tempembed.data import installed_code

    def install(digest):
        folder = tmp_path / "thing-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        (folder / "RECORD").write_text(f"thing.py,sha256={digest},12\n../bin/thing,sha256=x{digest},3\n")
        return packages()

    monkeypatch.setattr(installed_code, "default_roots", lambda: [tmp_path])
    assert [package[:2] for package in install("a")] == [["thing", "1.0"]]
    assert install("a") == install("a")
    assert install("a") != install("b")
