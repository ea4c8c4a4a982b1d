"""Texts of tests are cut out of others, however these are indented and broken into lines."""

import re

from tempembed.data.cut_texts import SHORTEST, TextCutter, words

QUERY = "Return the sum of all numbers in this list."
FUNCTION = """def total(self, numbers, start=0):
    result = start
    for number in numbers:
        result += number * self.weight_of(number)
    return result"""
SOURCE = '''class Sums:
    """Sums of several kinds."""

    def total(self, numbers, start=0):
        """Return the sum of
        all numbers in this list.

        More words that are nobody's test.
        """
        result = start
        for number in numbers:
            result += number * self.weight_of(number)
        return result

    def other(self):
        return 1
'''


def contains(text, part):
    return f" {' '.join(words(part))} " in f" {' '.join(words(text))} "


def test_a_function_and_its_docstring_are_cut_out_of_its_source():
    cutter = TextCutter([QUERY, FUNCTION, "a test text that is found nowhere in here"])
    (kept,), hits = cutter.cut([SOURCE])
    assert not contains(kept, QUERY)
    assert "weight_of" not in kept
    assert "for number in numbers" not in kept
    assert "class Sums:" in kept
    assert "    def other(self):\n        return 1\n" in kept
    assert cutter.found(hits).tolist() == [True, True, False]


def test_what_is_cut_does_not_bring_two_halves_together():
    """A short getter: cutting its docstring leaves signature and body side by side."""
    getter = "def name(self, key):\n    return self._names[key]"
    cutter = TextCutter(["Return the name for this key, or fail.", getter])
    source = 'class A:\n    def name(self, key):\n        """Return the name for this key, or fail."""\n        return self._names[key]\n'
    (kept,), hits = cutter.cut([source])
    assert kept == "class A:\n"
    assert cutter.found(hits).all()


def test_line_breaks_case_and_punctuation_do_not_hide_a_text():
    cutter = TextCutter([QUERY])
    texts = [
        f"Before. {QUERY.upper()} After.",
        "# Return the SUM,\n#   of (all) numbers\n# in this list\nx",
        "no",
    ]
    kept, _ = cutter.cut(texts)
    assert kept == ["Before. . After.", "x", "no"]


def test_texts_of_too_few_words_are_left_and_counted():
    short = " ".join("abcdefgh"[: SHORTEST - 1])
    cutter = TextCutter([short, "!!", QUERY])
    assert cutter.cut([f"{short} and"])[0] == [f"{short} and"]
    assert cutter.too_short == 2


def test_without_test_texts_nothing_is_cut():
    cutter = TextCutter([])
    kept, hits = cutter.cut([SOURCE, ""])
    assert (kept, len(hits), cutter.too_short) == ([SOURCE, ""], 0, 0)


def test_no_sequence_of_a_long_test_text_is_left():
    long = " ".join(f"word{i}" for i in range(60))
    cutter = TextCutter([long])
    part = " ".join(f"word{i}" for i in range(20, 45))
    (kept,), hits = cutter.cut([f"start {part} end"])
    assert re.sub(r"\s+", " ", kept) == "start end"
    assert not cutter.found(hits)[0]  # a quarter of it is not the text
