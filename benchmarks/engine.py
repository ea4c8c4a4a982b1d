"""The objective on given embeddings: our engine, its floor of bare matrix products, and sentence-transformers' losses.

Each variant runs in a process of its own, beside the bare products of the same process: what is compared are
multiples of those, so that a slow minute of the machine does not decide.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from tempembed.memory import peak_growth

DIMS, TAUS = (256, 512, 1024), (0.03, 0.06, 0.1)
WIDTH = 1024
VARIANTS = ("engine_9", "peer_9")


def main() -> None:
    """Print the measurement of one variant as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--n", type=int, default=8192, help="pairs")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.variant, arguments.n, arguments.repeats)))


def apart(variant: str, n: int, repeats: int) -> dict[str, float]:
    """`measure` in a new process."""
    command = [sys.executable, "-m", "benchmarks.engine", variant, "--n", str(n), "--repeats", str(repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(variant: str, n: int, repeats: int) -> dict[str, float]:
    """Best seconds of the variant, of the bare products and of one term, in turn; bytes beyond inputs and gradients."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1)
    documents = F.normalize(queries + 0.05 * torch.randn(n, WIDTH, generator=generator), dim=1)
    for embeddings in (queries, documents):
        embeddings.requires_grad_()
    run = {"engine_9": _engine(9), "peer_9": _peer}[variant]
    single = _engine(1)
    small = [embeddings.detach()[:256].clone().requires_grad_() for embeddings in (queries, documents)]
    run(*small)  # imports, thread pools
    _bare(*small)
    memory = (
        peak_growth(lambda: run(queries, documents), torch.device("cpu")) - 2 * queries.numel() * 4
    )  # gradients
    seconds, bare, one, value = [], [], [], 0.0
    for _ in range(repeats):
        queries.grad = documents.grad = None
        seconds_now, value = _timed(run, queries, documents)
        seconds.append(seconds_now)
        bare.append(_timed(_bare, queries, documents)[0])
        one.append(_timed(single, queries, documents)[0])
    best = {"seconds": min(seconds), "bare": min(bare), "one_term": min(one)}
    return {**best, "bytes": memory, "loss": value}


def _timed(run: Callable[..., float], *embeddings: torch.Tensor) -> tuple[float, float]:
    began = time.perf_counter()
    value = run(*embeddings)
    return time.perf_counter() - began, value


def _bare(queries: torch.Tensor, documents: torch.Tensor) -> float:
    """Four products of 2 N² D: similarity, similarity again, and both gradients; in blocks of 512 rows."""
    q, d = queries.detach(), documents.detach()
    for rows in q.split(512):
        block = torch.mm(rows, d.T)
        torch.mm(rows, d.T, out=block)
        torch.mm(block, d)
        torch.mm(block.T, rows)
    return 0.0


def _engine(num_terms: int) -> Callable[..., float]:
    from tempembed.losses.contrastive import contrastive_loss
    from tempembed.objective import Term

    dims, taus = (DIMS, TAUS) if num_terms == 9 else ((WIDTH,), (0.06,))
    terms = tuple(Term(dim=dim, temperature=tau) for dim in dims for tau in taus)

    def run(queries: torch.Tensor, documents: torch.Tensor) -> float:
        loss = contrastive_loss(queries, documents, terms)
        loss.objective.backward()
        return loss.objective.item()

    return run


def _peer(queries: torch.Tensor, documents: torch.Tensor) -> float:
    """Three MatryoshkaLoss(MultipleNegativesRankingLoss), one for each temperature."""
    from sentence_transformers.sentence_transformer import losses

    class Given(torch.nn.Module):
        """A model whose texts are their embeddings."""

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {**features, "sentence_embedding": features["embedding"]}

        def get_embedding_dimension(self) -> int:
            return WIDTH

    model = Given()
    features = [{"embedding": queries}, {"embedding": documents}]
    parts = [
        losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model, scale=1 / tau), list(DIMS))
        for tau in TAUS
    ]
    loss = sum(part(features, torch.zeros(1)) for part in parts)
    loss.backward()
    return float(loss)


if __name__ == "__main__":
    main()
