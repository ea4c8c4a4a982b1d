"""The embedded raw text, of a small environment made here."""

import gzip

import pytest

from tempembed.data import installed_text
from tempembed.data.installed_text import installed_parts
from tempembed.data.manuals import plain_manual


@pytest.fixture
def environment(tmp_path):
    root, share = tmp_path / "site", tmp_path / "share"
    files = {
        root / "alpha" / "a.py": "x = 1\n",
        root / "alpha" / "tests" / "test_a.py": "assert True\n",
        root / "alpha" / "__pycache__" / "a.py": "no\n",
        root / "alpha" / "big.py": "# " + "x" * 1_000_001,
        root / "alpha" / "data.txt": "no documentation\n",
        root / "alpha" / "README.md": "# Alpha\n",
        root / "alpha-1.dist-info" / "METADATA": "Name: alpha\n",
        root / "tempembed" / "own.py": "no\n",
        share / "doc" / "beta" / "README.Debian": "Beta on Debian.\n",
        share / "doc" / "beta" / "changelog.txt": "no\n",
        share / "doc" / "beta" / "copyright": "no\n",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for folder in ("man1", "de/man1"):
        (share / "man" / folder).mkdir(parents=True)
        (share / "man" / folder / "b.1.gz").write_bytes(gzip.compress(b".SH NAME\nb \\- does it\n"))
    (share / "man" / "man1" / "alias.1.gz").symlink_to("b.1.gz")
    return root, share


def test_what_an_environment_has(environment):
    root, share = environment
    parts = list(installed_parts([root], share))
    assert [(part.kind, part.place.rsplit("/", 1)[1]) for part in parts] == [
        ("file", "a.py"),
        ("file", "test_a.py"),
        ("file", "README.md"),
        ("file", "METADATA"),
        ("file", "README.Debian"),
        ("man", "b.1.gz"),
    ]
    assert all(part.installed and part.stamp[0] for part in parts)
    assert list(installed_parts([root], share)) == parts


def test_a_machine_without_debian(environment, tmp_path):
    assert len(list(installed_parts([environment[0]], tmp_path / "nothing"))) == 4


def test_a_manual_in_plain_words():
    page = """.\\" a comment
.TH LS 1 "May"
.SH "SEE ALSO"
.TP
\\fB\\-a\\fR, \\fB\\-\\-all\\fR
do not ignore\\ \\(lqdot\\(rq files, C:\\e
.BR dir (1)
.if n .nh
"""
    assert plain_manual(page) == 'SEE ALSO\n-a, --all\ndo not ignore "dot" files, C:\\\ndir (1)'


def test_our_own_packages_are_left_out():
    assert {"tempembed", "ray_jobs"} < set(installed_text.SKIPPED)
