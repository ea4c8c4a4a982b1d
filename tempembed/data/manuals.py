"""Man pages as plain text."""

import re

_ESCAPES = (
    (re.compile(r'\\".*'), ""),
    (re.compile(r"\\f(\[[^]]*\]|\(..|.)|\\s[-+]?\d+|\\[&/,|^:%cz]"), ""),
    (re.compile(r"\\[ ~0]"), " "),
    (re.compile(r"\\\((?:lq|rq)"), '"'),
    (re.compile(r"\\\((?:aq|oq|cq)"), "'"),
    (re.compile(r"\\\((?:em|en|hy|mi)|\\-"), "-"),
    (re.compile(r"\\\(..|\\\[[^]]*\]|\\\*(\(..|\[[^]]*\]|.)"), " "),
    (re.compile(r"\\e|\\\\"), r"\\"),
)  # fmt: skip
_MACRO = re.compile(r"[.'][ \t]*([A-Za-z]{0,3})[ \t]*")

_SILENT = {"", "TH", "de", "ds", "if", "ie", "el", "nr", "so", "ad", "nh", "ne", "rs"}
"""Macros whose words are not printed."""


def plain_manual(text: str) -> str:
    r"""The words of a man page, without troff's macros and escapes.

    >>> plain_manual(".SH NAME\n\\- list \\fIdirectory\\fR contents")
    'NAME\n- list directory contents'
    """
    lines = []
    for line in text.splitlines():
        if line.startswith((".", "'")):
            macro = _MACRO.match(line)
            if not macro or macro[1] in _SILENT:
                continue
            line = line[macro.end() :].replace('"', "")
        for pattern, plain in _ESCAPES:
            line = pattern.sub(plain, line)
        if line.strip():
            lines.append(line)
    return "\n".join(lines)
