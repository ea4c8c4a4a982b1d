"""Flags are a promise to users' scripts: none goes, none gets another default, unless the list is changed with it."""

import json
from pathlib import Path

from tests.flags import all_flags

LIST = Path(__file__).with_name("flags.json")


def test_flags_and_their_defaults_are_those_of_the_list():
    listed, found = json.loads(LIST.read_text()), all_flags()
    assert sum(map(len, listed.values())) > 200
    assert found == listed, "if this is meant: python -m tests.flags > tests/flags.json"
