"""What every fuzz test shares: profiles, damage done to good input, and the property that only our errors come out."""

import copy
import json
import os
import signal
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tempembed.system.errors import UserError

SECONDS = 20  # a case that takes longer hangs
CASES: Counter[str] = Counter()

settings.register_profile(
    "ci", max_examples=100, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
settings.register_profile(
    "long", max_examples=10_000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
profile = settings.get_profile(os.environ.get("FUZZ_PROFILE", "ci"))


@contextmanager
def only_our_errors(target, folder=None):
    """Count a case; let a UserError pass, and nothing else, in time, with the folder's files as they were."""

    def hung(number, frame):
        raise TimeoutError(f"{target or 'a step'}: still at work after {SECONDS} s")

    if target:  # none: a further step of a case that is counted
        CASES[target] += 1
    before = files(folder)
    signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    said = "nothing to say"
    try:
        yield
    except UserError as error:
        said = str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert 10 < len(said) < 5000, said
    assert files(folder) == before, "left behind"


def files(folder):
    return sorted(str(path) for path in Path(folder).rglob("*")) if folder else []


_PIECES = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\r\n", b'"', b"\\", b"{", b"}", b"[", b",", b"\t", b":",
    b"[" * 3000, b'{"a":' * 3000, b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"NaN", b"-1", b"1e999", b"9" * 5000, b"null", b"../",
    b"\\ud800", b"\\u0000", b"x" * 70_000, b"0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b" ",
]  # fmt: skip
_edit = st.tuples(
    st.sampled_from(["flip", "set", "insert", "delete", "repeat", "cut"]),
    st.integers(0, 2**20),
    st.integers(0, 2**20),
)


def _damage(data, edits):
    for kind, place, value in edits:
        at = place % (len(data) + 1)
        piece = _PIECES[value % len(_PIECES)]
        end = min(len(data), at + value % 40 + 1)
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << value % 8)]) + data[at + 1 :]
        elif kind == "set":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[end:]
        elif kind == "repeat":
            data = data[:end] + data[at:end] + data[end:]
        elif kind == "cut":
            data = data[:at]
    return data


def damaged(data, most=3):
    """The bytes with up to `most` edits, perhaps none."""
    return st.lists(_edit, max_size=most).map(lambda edits: _damage(data, edits))


odd = st.sampled_from([
    None, True, False, -1, 0, 1, 7, 2**31, 2**63, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", " ", "\0", "../../x", "/etc/passwd",
    "x" * 1000, "\ud800", "é", "float32", [], {}, [[]], [1, "a"], [None], {"a": 1}, [["a", "b"]], ["a", "a"], [[[[[[[[]]]]]]]],
])  # fmt: skip


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value[:20]):
            yield from _places(item, (*path, number))


def _change(value, edits):
    value = copy.deepcopy(value)
    for kind, place, new in edits:
        places, new = list(_places(value)), copy.deepcopy(new)
        path = places[place % len(places)]
        if not path:
            if kind == "replace" and place % 5 == 0:
                value = new
            continue
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if kind == "replace":
            parent[path[-1]] = new
        elif kind == "remove":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[str(new)[:20]] = parent[path[-1]]
        else:
            parent.append(new)
    return value


def changed(value, most=3):
    """A JSON value with up to `most` fields replaced by odd ones, removed or added."""
    edit = st.tuples(st.sampled_from(["replace", "replace", "remove", "add"]), st.integers(0, 2**16), odd)
    return st.lists(edit, max_size=most).map(lambda edits: _change(value, edits))


def json_bytes(value):
    """As text, lone surrogates and all."""
    return json.dumps(value).encode()


def damaged_json(value):
    """Fields changed, or bytes damaged."""
    return st.one_of(changed(value).map(json_bytes), damaged(json.dumps(value, indent=1).encode()))
