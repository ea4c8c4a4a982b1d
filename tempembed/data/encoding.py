"""Whether bytes are UTF-8, and what they seem to be otherwise."""

from tempembed.data.bad_rows import BadRow

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which may precede the first line."""
START_BYTES = 4096
"""Bytes from which the encoding of a file is judged."""


def is_utf16(start: bytes) -> bool:
    """Whether the first bytes of a file are UTF-16: by their mark, or by a NUL in every other byte.

    >>> is_utf16("query,document".encode("utf-16-le")), is_utf16(b"query,document")
    (True, False)
    """
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    even, odd = start[0::2].count(0), start[1::2].count(0)
    half = len(start) / 2
    return max(even, odd) > 0.4 * half and min(even, odd) < 0.1 * half and half >= 2


def checked_utf8(text: str, column: str | None = None, item: str = "") -> str:
    """The text, if it can be written as UTF-8; otherwise `BadRow`, which names the byte.

    Text that was decoded by "surrogateescape" keeps its wrong bytes. `item` says which part of the cell it is.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        # surrogateescape turns byte 0xNN into U+DCNN; other lone surrogates come from JSON escapes.
        is_byte = 0xDC80 <= code <= 0xDCFF
        what = f"byte 0x{code - 0xDC00:02x}" if is_byte else f"half a character (U+{code:04X})"
        found = f"{what} after {error.start} characters"
        todo = "save the data as UTF-8"
        todo += latin1_hint(code - 0xDC00) if is_byte else ""
        raise BadRow("invalid UTF-8", f"UTF-8{item}", found, todo, column=column) from error
    return text


def latin1_hint(byte: int) -> str:
    """What the byte would be in Latin-1, the encoding most often confused with UTF-8; its control characters excepted."""
    return f" (in Latin-1 this byte is {chr(byte)!r})" if byte >= 0xA0 else " (it may be Windows-1252)"
