"""Which kind of model a folder or a hub name holds, from its configuration, before anything is loaded."""

from collections.abc import Callable
from typing import Any

from tempembed.system.errors import UserError

Read = Callable[[str], Any]
"""The JSON in a file of the model, by its name; None where there is no such file."""

KINDS = {
    "SparseEncoder": "a sparse encoder, whose vectors have a coordinate for each token",
    "CrossEncoder": "a cross-encoder, which scores pairs of texts and has no embedding of one",
    "MultiVectorEncoder": "a late-interaction model, which has a vector for each token",
}
"""Families of sentence-transformers that are no dense encoders."""
FAMILIES = {".sparse_encoder.": "SparseEncoder", ".multi_vector_encoder.": "MultiVectorEncoder"}
"""How the class names of a family's modules show it."""
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
"""What the names of transformers' classes end in that were trained to answer, not to embed."""


def is_plain(read: Read) -> bool:
    """Whether it is a transformer without the modules of sentence-transformers, which adds a pooling to it."""
    return read("modules.json") is None


def require_dense(name: str, read: Read) -> None:
    """Raise UserError unless the model is a dense encoder; else says what it is."""
    modules = read("modules.json")
    types = (
        [str(one.get("type")) for one in modules if isinstance(one, dict)]
        if isinstance(modules, list)
        else []
    )
    config = read("config_sentence_transformers.json")
    kind = str(config.get("model_type")) if isinstance(config, dict) else ""
    kind = next((family for mark, family in FAMILIES.items() if any(mark in type_ for type_ in types)), kind)
    if kind in KINDS:
        raise _refused(name, KINDS[kind])
    transformer = read("config.json") if not types else None
    architectures = transformer.get("architectures") if isinstance(transformer, dict) else None
    for architecture in architectures if isinstance(architectures, list) else ():
        if str(architecture).endswith(HEADS):
            raise _refused(
                name, f"a {architecture}: a cross-encoder or classifier, which has no embedding of a text"
            )


def _refused(
    name: str, found: str, todo: str = "take a sentence-transformers or plain transformers encoder"
) -> UserError:
    return UserError(f"model {name!r}: expected a dense encoder that embeds one text, got {found}; {todo}")
