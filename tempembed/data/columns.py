"""The columns of pairs, and what files call them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tempembed.data.bad_rows import BadRow
from tempembed.system.errors import UserError
from tempembed.system.wording import quoted

QUERY, DOCUMENT, HARD_NEGATIVES, LABEL = "query", "document", "hard_negatives", "label"
GROUP = "group"
"""Rows of one group stay on one side of a hold-out and never meet in a batch."""
SCORES = "scores"
"""A teacher's scores: that of the document, then one for each hard negative, in their order."""
SCORE = "score"
"""How well a document fits its query, in rows that are judged; not a column of pairs."""
TEXT = pa.large_string()  # 64-bit offsets: a column may exceed 2 GiB
SCHEMA = pa.schema(
    {
        QUERY: TEXT,
        DOCUMENT: TEXT,
        HARD_NEGATIVES: pa.list_(TEXT),
        LABEL: TEXT,
        SCORES: pa.list_(pa.float32()),
        GROUP: TEXT,
    }
)

MESSAGES = "messages"
_LISTS_OF_DOCUMENTS = {
    "pos": ("neg",),  # FlagEmbedding
    "positive_passages": ("negative_passages",),  # tevatron, and MIRACL
    "positives": ("negatives",),  # tevatron's older text pairs
    "positive_messages": ("negative_messages",),  # ms-swift
    "positive_ctxs": ("hard_negative_ctxs", "negative_ctxs"),  # DPR
}
"""For each column of right documents, the columns of wrong ones; the first that is present is read."""
_QUERIES = (QUERY, "anchor", "question", MESSAGES)
_PICTURES = ("image", "file_name")  # as datasets calls them
_CAPTIONS = ("text", "caption", "title")
_JUDGED = (("sentence1", "sentence2"), ("question1", "question2"), ("text1", "text2"))
_SPLIT_SCORES = ("pos_scores", "neg_scores")  # FlagEmbedding
_SCORES = (LABEL, "labels", "score", "scores", "similarity", "similarity_score", "is_duplicate")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names that a file has for the columns of pairs."""

    query: str
    document: str
    hard_negatives: str | None
    """A column of lists."""
    negatives: tuple[str, ...]
    """Columns of one hard negative each."""
    label: str | None
    score: str | None = None
    """A column that says how well the document fits the query."""
    listed: bool = False
    """Whether the document column holds lists of documents."""
    scores: str | None = None
    """A column of lists: a teacher's scores of the document and of each hard negative."""
    split_scores: tuple[str, str] | None = None
    """In place of it, two: scores of each document, and of each hard negative."""
    group: str | None = None
    """A column whose rows with one value belong together."""
    image: str | None = None
    """A column that must be pictures, as its name says."""

    @property
    def names(self) -> list[str]:
        """All names."""
        optional = [self.hard_negatives, *self.negatives, self.label, self.score, *self.teachers, self.group]
        return list(dict.fromkeys([self.query, self.document, *(name for name in optional if name)]))

    @property
    def embedded(self) -> list[str]:
        """Names of the columns that are embedded: texts, or pictures."""
        return [self.query, self.document, *self.negatives, *filter(None, [self.hard_negatives])]

    @property
    def teachers(self) -> list[str]:
        """Names of the columns of a teacher's scores."""
        return [*([self.scores] if self.scores else []), *(self.split_scores or ())]

    @property
    def lists(self) -> list[str]:
        """Names of columns that hold lists, which CSV has as JSON in a cell."""
        listed = [self.document] if self.listed else []
        messages = [name for name in (self.query, self.document) if name == MESSAGES]
        return list(
            dict.fromkeys(
                [*messages, *listed, *([self.hard_negatives] if self.hard_negatives else []), *self.teachers]
            )
        )


def find_columns(names: Sequence[str], text_names: Sequence[str], *, scored: bool = False) -> Columns:
    """Find the columns of pairs among `names`.

    Args:
        names: names of the file's columns.
        text_names: the names of those that hold text, for a suggestion.
        scored: whether to read a column of scores beside query and document.
    """
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadRow("wrong columns", "each column once", f"{quoted(repeated)} more than once", "rename one")
    if found := _format(names):
        return found
    numbered = sorted(
        (name for name in names if re.fullmatch(r"negative_[0-9]{1,9}", name)), key=lambda name: int(name[9:])
    )
    query = one_spelling(names, QUERY, "anchor")
    document = one_spelling(names, DOCUMENT, "positive")
    lists = [name for negatives in _LISTS_OF_DOCUMENTS.values() for name in negatives if name in names]
    negative = one_spelling(names, HARD_NEGATIVES, "negative", *numbered[:1], *lists)
    if query is None or document is None:
        expected = (
            f"columns {QUERY!r} and {DOCUMENT!r} (or 'anchor' and 'positive'), optionally {HARD_NEGATIVES!r} "
            f"or 'negative_1', 'negative_2', ... and {LABEL!r}"
        )
        missing = [name for name, found in ((QUERY, query), (DOCUMENT, document)) if found is None]
        found_ = f"no {' and no '.join(map(repr, missing))} among {quoted(names)}"
        todo = _advice(missing, [name for name in text_names if name not in (query, document)])
        raise BadRow("wrong columns", expected, found_, todo)
    return Columns(
        query=query,
        document=document,
        hard_negatives=negative if negative in (HARD_NEGATIVES, *lists) else None,
        negatives=("negative",) if negative == "negative" else tuple(numbered),
        label=LABEL if LABEL in names else None,
        score=SCORE if scored and SCORE in names else None,
        scores=SCORES if SCORES in names else None,
        group=GROUP if GROUP in names else None,
    )


def _format(names: Sequence[str]) -> Columns | None:
    """The columns of a format that other libraries train on; None if it is none of these."""
    picture, caption = (
        next((name for name in known if name in names), None) for known in (_PICTURES, _CAPTIONS)
    )
    if picture and caption and not {QUERY, DOCUMENT, "anchor", "positive"} & set(names):
        label, group = (name if name in names else None for name in (LABEL, GROUP))
        return Columns(
            query=caption,
            document=picture,
            hard_negatives=None,
            negatives=(),
            label=label,
            group=group,
            image=picture,
        )
    query = next((name for name in _QUERIES if name in names), None)
    documents = one_spelling(names, *_LISTS_OF_DOCUMENTS)
    negative, score, listed = None, None, documents is not None
    if documents is not None and query is not None:
        one_spelling(names, DOCUMENT, documents)
        negative = next((name for name in _LISTS_OF_DOCUMENTS[documents] if name in names), None)
        score = LABEL if documents == "positive_messages" and LABEL in names else None
    elif {DOCUMENT, "positive"} & set(names):
        return None
    elif query == MESSAGES or (query == QUERY and "response" in names):
        documents = "response" if query == QUERY else MESSAGES  # ms-swift: query, response, rejected_response
        negative = "rejected_response" if "rejected_response" in names else None
        score = LABEL if LABEL in names else None
    elif query in (None, "question") and (pair := next((p for p in _JUDGED if set(p) <= set(names)), None)):
        (query, documents), score = pair, one_spelling(names, *_SCORES)
    if query is None or documents is None:
        return None
    return Columns(
        query=query, document=documents, hard_negatives=negative, negatives=(), label=None, score=score,
        listed=listed, split_scores=_SPLIT_SCORES if documents == "pos" and {*_SPLIT_SCORES} <= {*names} else None,
    )  # fmt: skip


_NO_TEXT = re.compile(
    r"(^|[\W_])(ids?|idx|index|[dqpc]ids?|uuid|guid|key|hash|md5|no|nr|num|number|count|len|length|tokens|ur[il]s?|"
    r"links?|date|time|timestamp|year|lang|language|locale|split|fold|source|type|kind|category|topic|domain|prompts?|"
    r"instructions?|instruct|system|scores?|labels?|ratings?|grades?|ranks?|weights?|similarity|relevance|probs?|"
    r"probability|confidence|negatives?|neg|metadata|meta|model|user|author|version|status|tags?|row|line|premise|hypothesis)([\W_]|$)"
    r"|(doc|document|query|corpus|passage|question|answer|pair|row)_?ids?$",
    re.IGNORECASE,
)
_MEANS = {
    QUERY: re.compile(r"(^|[\W_])(query|queries|questions?|ask|search|anchor|sentence1|text1)([\W_]|$)", re.I),
    DOCUMENT: re.compile(
        r"(^|[\W_])(answers?|repl(y|ies)|responses?|documents?|docs?|passages?|contexts?|text|content|body|positives?|"
        r"outputs?|completions?|sentence2|text2)([\W_]|$)",
        re.I,
    ),
}  # fmt: skip


def _advice(missing: Sequence[str], spare: Sequence[str]) -> str:
    """Advice what to rename, by what names mean: an identity, prompt, score or number is no query and no document."""
    spare = [name for name in spare if not _NO_TEXT.search(name)]
    chosen: dict[str, str] = {}
    for wanted in missing:
        other = _MEANS[DOCUMENT if wanted == QUERY else QUERY]
        likely = [name for name in spare if _MEANS[wanted].search(name) and not other.search(name)]
        if len(likely) == 1:
            chosen[wanted] = likely[0]
    left = [name for name in spare if name not in chosen.values()]
    wanting = [wanted for wanted in missing if wanted not in chosen]
    if len(left) == len(wanting):
        chosen |= dict(zip(wanting, left, strict=True))
    if len(chosen) < len(missing):
        return "rename the columns"
    return "rename " + " and ".join(f"{chosen[new]!r} to {new!r}" for new in missing)


def one_spelling(names: Sequence[str], *spellings: str) -> str | None:
    """The spelling that is present, or None; `BadRow` if several are."""
    present = [name for name in spellings if name in names]
    if len(present) > 1:
        found = " and ".join(map(repr, present))
        raise BadRow("wrong columns", f"one of {quoted(spellings)}", f"both {found}", "remove or rename one")
    return present[0] if present else None


def file_columns(
    names: Sequence[str], text_names: Sequence[str], name: str, *, scored: bool = False, hint: str = ""
) -> Columns:
    """`find_columns` for a file with one header, where no skipped row can help."""
    try:
        return find_columns(names, text_names, scored=scored)
    except BadRow as bad:
        raise UserError(f"{name}: {bad.message}{hint}") from bad


def arrow_columns(schema: pa.Schema, name: str, *, scored: bool = False) -> Columns:
    """The columns of an Arrow schema, with their types checked: a type is wrong for all rows or for none."""
    texts = [column.name for column in schema if is_text(column.type)]
    columns = file_columns(schema.names, texts, name, scored=scored)
    for column in columns.names:
        type_ = schema.field(column).type
        expected, fits = "text", is_text(type_) or _is_object(type_) or has_bytes(type_)
        if MESSAGES in column:
            expected, fits = "lists of messages", _is_list(type_)
        elif column in columns.teachers:
            expected, fits = "lists of numbers", pa.types.is_null(type_) or _is_numbers(type_)
        elif column in columns.lists:
            expected, fits = "lists of text", _is_list(type_) and _is_item(type_)
            fits = fits or pa.types.is_null(type_) or (column != columns.hard_negatives and is_text(type_))
        elif column in (columns.label, columns.score, columns.group):
            expected, fits = "text or numbers", not any(kind(type_) for kind in _NO_LABEL)
        elif column in ("positive", *columns.negatives):
            fits = fits or (_is_list(type_) and _is_item(type_))
        if not fits:
            raise UserError(
                f"{name}, column {column!r}: expected {expected} in every row, got {type_} from row 1 on: "
                f"write the column as {expected}, or rename it if it is something else"
            )
    return columns


_NO_LABEL = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)


def is_text(type_: pa.DataType) -> bool:
    """Whether a type of Arrow is text in one of its forms."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return text or pa.types.is_null(type_)  # a column of nulls only: the rows are bad, not the type


def has_bytes(type_: pa.DataType) -> bool:
    """Whether a type of Arrow is bytes, or objects with `bytes`, as pictures are kept."""
    binary = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    if any(kind(type_) for kind in binary):
        return True
    return pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0


def is_list_of_text(type_: pa.DataType) -> bool:
    """Whether a type of Arrow is lists of texts in one of their forms, or nulls only."""
    return pa.types.is_null(type_) or (_is_list(type_) and is_text(type_.value_type))


def _is_list(type_: pa.DataType) -> bool:
    return any(
        kind(type_) for kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )


def _is_numbers(type_: pa.DataType) -> bool:
    item = type_.value_type if _is_list(type_) else type_
    return _is_list(type_) and (
        pa.types.is_floating(item) or pa.types.is_integer(item) or pa.types.is_null(item)
    )


def _is_item(type_: pa.DataType) -> bool:
    return is_text(type_.value_type) or _is_object(type_.value_type) or has_bytes(type_.value_type)


def _is_object(type_: pa.DataType) -> bool:
    """Whether it is objects with `text`."""
    return pa.types.is_struct(type_) and type_.get_field_index("text") >= 0
