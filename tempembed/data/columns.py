"""Our columns, and what a file calls them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tempembed.data.faults import BadRow
from tempembed.data.wording import quoted
from tempembed.errors import UserError

QUERY, DOCUMENT, HARD_NEGATIVES, LABEL = "query", "document", "hard_negatives", "label"
TEXT = pa.large_string()  # 64-bit offsets: a column may pass 2 GiB
SCHEMA = pa.schema({QUERY: TEXT, DOCUMENT: TEXT, HARD_NEGATIVES: pa.list_(TEXT), LABEL: TEXT})


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the file calls our columns."""

    query: str
    document: str
    hard_negatives: str | None
    """A column of lists."""
    negatives: tuple[str, ...]
    """Columns of one hard negative each."""
    label: str | None

    @property
    def names(self) -> list[str]:
        """All of them, as the file has them."""
        optional = [name for name in (self.hard_negatives, *self.negatives, self.label) if name is not None]
        return [self.query, self.document, *optional]


def find_columns(names: Sequence[str], text_names: Sequence[str]) -> Columns:
    """Find our columns among `names`; `text_names` are those that hold text, for a suggestion."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadRow("wrong columns", "each column once", f"{quoted(repeated)} more than once", "rename one")
    numbered = sorted(
        (name for name in names if re.fullmatch(r"negative_[0-9]{1,9}", name)), key=lambda name: int(name[9:])
    )
    query = one_spelling(names, QUERY, "anchor")
    document = one_spelling(names, DOCUMENT, "positive")
    negative = one_spelling(names, HARD_NEGATIVES, "negative", *numbered[:1])
    if query is None or document is None:
        missing = [name for name, found in ((QUERY, query), (DOCUMENT, document)) if found is None]
        spare = [name for name in text_names if name not in (query, document)]
        todo = "rename the columns"
        if len(text_names) == 2 and len(spare) == len(missing):
            todo = "rename " + " and ".join(
                f"{old!r} to {new!r}" for old, new in zip(spare, missing, strict=True)
            )
        expected = (
            f"columns {QUERY!r} and {DOCUMENT!r} (or 'anchor' and 'positive'), optionally {HARD_NEGATIVES!r} "
            f"or 'negative_1', 'negative_2', ... and {LABEL!r}"
        )
        found = f"no {' and no '.join(map(repr, missing))} among {quoted(names)}"
        raise BadRow("wrong columns", expected, found, todo)
    return Columns(
        query=query,
        document=document,
        hard_negatives=HARD_NEGATIVES if negative == HARD_NEGATIVES else None,
        negatives=("negative",) if negative == "negative" else tuple(numbered),
        label=LABEL if LABEL in names else None,
    )


def one_spelling(names: Sequence[str], *spellings: str) -> str | None:
    """The spelling that is among `names`, None if none is; `BadRow` if several are."""
    present = [name for name in spellings if name in names]
    if len(present) > 1:
        found = " and ".join(map(repr, present))
        raise BadRow("wrong columns", f"one of {quoted(spellings)}", f"both {found}", "remove or rename one")
    return present[0] if present else None


def file_columns(names: Sequence[str], text_names: Sequence[str], name: str) -> Columns:
    """`find_columns` of a file that states them once, where no row can be skipped to mend them."""
    try:
        return find_columns(names, text_names)
    except BadRow as bad:
        raise UserError(f"{name}: {bad.message}") from bad


def arrow_columns(schema: pa.Schema, name: str) -> Columns:
    """Columns of an Arrow schema, their types checked: a type is wrong for all rows or for none."""
    columns = file_columns(schema.names, [column.name for column in schema if is_text(column.type)], name)
    for column in columns.names:
        type_ = schema.field(column).type
        expected, fits = "text", is_text(type_)
        if column == columns.hard_negatives:
            expected, fits = "lists of text", _is_list_of_text(type_)
        elif column == columns.label:
            expected, fits = "text or whole numbers", fits or pa.types.is_integer(type_)
        if not fits:
            raise UserError(
                f"{name}, column {column!r}: expected {expected} in every row, got {type_} from row 1 on: "
                f"write the column as {expected}, or rename it if it is something else"
            )
    return columns


def is_text(type_: pa.DataType) -> bool:
    """Whether Arrow type `type_` is text in one of its forms."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return text or pa.types.is_null(type_)  # a column of nulls only: the rows are bad, not the type


def _is_list_of_text(type_: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return pa.types.is_null(type_) or (any(kind(type_) for kind in kinds) and is_text(type_.value_type))
