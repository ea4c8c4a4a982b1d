"""A cheap look at a model in mid-training: its goals on a part of the dev data or of the test, in full and at byte budgets."""

from collections.abc import Sequence
from random import Random

import numpy as np

from tempembed.codecs.lab import Documents
from tempembed.codecs.sets import probe_specs
from tempembed.codecs.spec import Spec
from tempembed.encoders.encoder import Encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.statistics import Statistic
from tempembed.inputs.inputs import Inputs
from tempembed.system.errors import UserError

NUM_QUERIES, NUM_DOCUMENTS = 500, 3_000


class Probe:
    """500 queries against 3,000 documents, theirs among them; the same for every model on this data.

    Args:
        part: texts and tokens, as `Prepared.dev` and `Prepared.evaluation` give them.
        budgets: bytes per vector whose score is measured as well.
        kinds: what is measured of full embeddings; retrieval always is.
    """

    def __init__(
        self,
        part: tuple[Corpus, Inputs, Inputs],
        budgets: Sequence[int] = (),
        kinds: Sequence[str] = (),
    ) -> None:
        corpus, queries, documents = part
        rng = Random(0)
        rows = sorted(rng.sample(range(len(corpus.queries)), min(NUM_QUERIES, len(corpus.queries))))
        right = {document for row in rows for document in corpus.relevant[row]}
        rest = [i for i in range(len(corpus.documents)) if i not in right]
        others = rng.sample(rest, min(len(rest), max(0, NUM_DOCUMENTS - len(right))))
        chosen = sorted([*right, *others])
        place = {document: i for i, document in enumerate(chosen)}
        self._budgets = budgets
        self._queries, self._documents = queries.select(np.array(rows)), documents.select(np.array(chosen))
        self.corpus = Corpus(
            queries=[corpus.queries[row] for row in rows], documents=[corpus.documents[i] for i in chosen],
            relevant=[[place[d] for d in corpus.relevant[row]] for row in rows],
            labels=[corpus.labels[i] for i in chosen] if corpus.labels else [],
        )  # fmt: skip
        """The texts that are measured on."""
        self._tasks = self.corpus.tasks([Retrieval.kind, *(kind for kind in kinds if kind != Retrieval.kind)])

    @property
    def kinds(self) -> list[str]:
        """What the data can measure of what was asked for."""
        return [task.kind for task in self._tasks]

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """The values of `statistics`, and for each budget `probe/retention_at_N_bytes`."""
        found = {name: each.value for name, each in self.statistics(encoder).items()}
        full = max(found[f"probe/{Retrieval.metric}"], 1e-12)
        for budget in self._budgets:
            score = found.setdefault(f"probe/score_at_{budget}_bytes", 0.0)
            found[f"probe/retention_at_{budget}_bytes"] = score / full
        return found

    def statistics(self, encoder: Encoder) -> dict[str, Statistic]:
        """`probe/METRIC` of each kind in full, and for each budget that a codec meets `probe/score_at_N_bytes`, the best of the cheap ones."""
        embedded = encoder.embed(self._queries), Documents(encoder.embed(self._documents))
        full = Spec(width=encoder.width)
        by_budget = {budget: probe_specs(encoder.width, budget) for budget in self._budgets}
        specs = dict.fromkeys([full, *(spec for specs in by_budget.values() for spec in specs)])
        found: dict[str, Statistic] = {}
        for task in self._tasks:
            is_retrieval = task.kind == Retrieval.kind
            scores = {
                spec: each
                for spec, each in task.measure(*embedded, list(specs) if is_retrieval else [full])
                if not isinstance(each, UserError)
            }
            found[f"probe/{task.metric}"] = scores[full]
            for budget, able in by_budget.items() if is_retrieval else ():
                if there := [scores[spec] for spec in able if spec in scores]:
                    found[f"probe/score_at_{budget}_bytes"] = max(there, key=lambda each: each.value)
        return found
