"""Settings of the raw text that a language model is pre-trained on: which files, what is cut out, how much."""

from dataclasses import dataclass, field
from typing import Annotated

from tempembed.settings.data import several
from tempembed.settings.flat import ONE_AS_ITSELF, Positive, check_ranges
from tempembed.system.cache import INSTALLED_CODE, INSTALLED_TEXT
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Which text, what is cut out of it, how much of it."""

    text: tuple[str, ...] = field(default=(INSTALLED_TEXT,), metadata=ONE_AS_ITSELF)
    """Raw text: Parquet, JSON Lines or CSV with a column of texts, text and source files (a document each), each perhaps .gz;
    folders, globs such as 'data/*.jsonl.gz', hub names org/name:config:split; or installed-text (the Python code, documentation and
    man pages of this machine)."""
    column: str = "text"
    """The column with the texts, in files of rows."""
    exclude: tuple[str, ...] = field(default=(INSTALLED_CODE,), metadata=ONE_AS_ITSELF)
    """Test sets whose texts are cut out of the raw text: installed-code (its test split), files of pairs, folders in mteb's layout.
    none: nothing is cut out."""
    skip_bad_rows: bool = False
    """Leave bad rows and files that are no text out and count them, instead of stopping at the first."""
    text_tokens: Annotated[int | None, Positive] = None
    """Stop after about so many tokens, of documents that are drawn by a hash of their content; default: all of them, but 10 M of
    installed-text for a run of no more."""
    vocabulary: Annotated[int, Positive] = 8192
    """Tokens of the tokenizer that is trained on the text, where no model brings its own."""

    def __post_init__(self) -> None:
        for name in ("text", "exclude"):
            given = several(getattr(self, name))
            object.__setattr__(self, name, () if name == "exclude" and given == ("none",) else given)
        check_ranges(self)
        if not self.text:
            raise UserError("--text: expected a file, a folder or a hub name with text, got none")
        if not self.column:
            raise UserError("--column: expected the name of a column, got an empty one")
