"""mteb's own evaluation of a model whose embeddings are there already, written in mteb's result format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import mteb
import torch
from mteb.abstasks.abstask import AbsTask
from mteb.cache import ResultCache
from mteb.models import SearchEncoderWrapper
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from tempembed.encoders.role import Prompts
from tempembed.evaluation.mteb_prompts import task_prompt
from tempembed.evaluation.mteb_tasks import all_left_out
from tempembed.evaluation.store import EmbeddingStore


class StoredEncoder(AbsEncoder):
    """An encoder for mteb that answers from the store; each checkpoint has a meta of its own.

    mteb files results under the meta's name and revision. Without one all models share `no_model_name_available`, and a
    second model is given the first one's scores.

    A search is mteb's own. From its results go the documents that are the query's own text: mteb knows them by equal ids
    only, and only in tasks that say so.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        name: str,
        prompts: Prompts,
        left_out: Mapping[tuple[str, str, str], Mapping[str, set[str]]],
    ) -> None:
        self._store, self._prompts, self._left_out = store, prompts, left_out
        self.model_prompts = dict(prompts.by_name)
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={"name": f"tempembed/{name}", "revision": store.fingerprint}
        )

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: Any = None, **_: Any) -> Any:
        """float32 embeddings of the loader's texts."""
        texts = [text for batch in inputs for text in batch["text"]]
        return self._store.embed(
            texts,
            "query" if prompt_type == PromptType.query else "document",
            task_prompt(self._prompts, task_metadata, prompt_type),
        ).numpy()

    def index(self, corpus: Any, **options: Any) -> None:
        """Keep the corpus; mteb's own index."""
        self._searcher = SearchEncoderWrapper(cast(Any, self))
        self._searcher.index(corpus, **options)

    def search(
        self, queries: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, **options: Any
    ) -> Any:
        """Mteb's own search, without the queries' own texts."""
        found = self._searcher.search(
            queries, task_metadata=task_metadata, hf_split=hf_split, hf_subset=hf_subset, **options
        )
        for query, out in self._left_out.get((task_metadata.name, hf_subset, hf_split), {}).items():
            for document in out & found.get(query, {}).keys():
                del found[query][document]
        return found

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosine."""
        one, two = (
            torch.nn.functional.normalize(torch.as_tensor(e), dim=-1) for e in (embeddings1, embeddings2)
        )
        return one @ (two.mT if two.ndim > 1 else two)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosine of equal rows."""
        return torch.nn.functional.cosine_similarity(
            torch.as_tensor(embeddings1), torch.as_tensor(embeddings2)
        )


def mteb_scores(
    tasks: Sequence[AbsTask], store: EmbeddingStore, *, name: str, prompts: Prompts, output: Path
) -> dict[str, float]:
    """The main score of each task by mteb itself, at float32 and full width; its result files are under `output`.

    Args:
        tasks: of mteb.
        store: the model's embeddings.
        name: of the model, letters, digits, dot, dash and underscore.
        prompts: the model's.
        output: a folder; an mteb results cache.
    """
    output.mkdir(parents=True, exist_ok=True)
    encoder = StoredEncoder(store, name, prompts, all_left_out(tasks))
    found = mteb.evaluate(
        cast(Any, encoder),
        list(tasks),
        cache=ResultCache(output),
        overwrite_strategy="always",
        show_progress_bar=False,
    )
    scores = {result.task_name: float(result.get_score()) for result in found.task_results}
    (output / "scores.json").write_text(json.dumps(scores, indent=1))
    return scores
