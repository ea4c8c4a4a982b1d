"""The objective on given embeddings: our engine, its floor of bare matrix products, and sentence-transformers' losses.

On a CPU each variant runs in a process of its own, beside the bare products of the same process: what is compared are
multiples of those, so that a slow minute of the machine does not decide.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.machine import PRECISIONS, in_precision, seconds
from tempembed.system.memory import peak_growth

DIMS, TAUS = (256, 512, 1024), (0.03, 0.06, 0.1)
WIDTH = 1024
VARIANTS = ("engine_9", "peer_9")
SIGNS = "engine_11"
"""Those nine terms and two on signs: tempaggmrl-sign."""
FLOOR_ROWS = {"cpu": 512, "cuda": 2048}
"""Of a block of the bare products."""
CHECKED_PAIRS = 2048


def main() -> None:
    """Print the measurement of one variant as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=(*VARIANTS, SIGNS))
    parser.add_argument("--n", type=int, default=8192, help="pairs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="on cuda")
    arguments = parser.parse_args()
    print(json.dumps(measure(**vars(arguments))))


def apart(variant: str, n: int, repeats: int) -> dict[str, float]:
    """`measure` on the CPU, in a new process."""
    command = [sys.executable, "-m", "benchmarks.engine", variant, "--n", str(n), "--repeats", str(repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    variant: str, n: int, repeats: int, device: str = "cpu", precision: str = "float32"
) -> dict[str, float]:
    """Best seconds of the variant, of the bare products and of one term, in turn; bytes beyond inputs and gradients.

    Seconds are of value and gradient, until the value is on the host. Infinite where memory runs out.
    """
    with in_precision(precision) as dtype:
        run, single = {"engine_9": _engine(9), "peer_9": _peer, SIGNS: _engine(11)}[variant], _engine(1)
        queries, documents = _embeddings(n, device, dtype)
        small = [embeddings.detach()[:256].clone().requires_grad_() for embeddings in (queries, documents)]
        for each in (run, single, _bare):  # imports, thread pools, kernels
            each(*small)
        spent: dict[str, list[float]] = {"seconds": [], "bare": [], "one_term": []}
        value = 0.0

        def keep_value() -> None:
            nonlocal value
            value = run(queries, documents)

        try:
            gradients = queries.nbytes + documents.nbytes
            memory = peak_growth(keep_value, torch.device(device)) - gradients
            for _ in range(repeats):
                queries.grad = documents.grad = None
                spent["seconds"].append(seconds(keep_value, device))
                spent["bare"].append(seconds(lambda: _bare(queries, documents), device))
                spent["one_term"].append(seconds(lambda: single(queries, documents), device))
        except torch.OutOfMemoryError:
            queries.grad = documents.grad = None
            return {"seconds": torch.inf, "bytes": torch.inf}
        return {**{name: min(times) for name, times in spent.items()}, "bytes": memory, "loss": value}


def gradient_error(variant: str, device: str, precision: str) -> dict[str, float]:
    """Relative error of the embeddings' gradients at 2,048 pairs, against float64 by the formulas."""
    from tempembed.losses.contrastive import contrastive_loss

    with in_precision(precision) as dtype:
        embeddings = _embeddings(CHECKED_PAIRS, device, dtype)
        exact = [each.detach().double().requires_grad_() for each in embeddings]
        contrastive_loss(*exact, _terms(9), dense=True).objective.backward()
        {"engine_9": _engine(9), "peer_9": _peer}[variant](*embeddings)
    got, want = (torch.cat([each.grad.double() for each in group]) for group in (embeddings, exact))
    return {"gradient_error": ((got - want).norm() / want.norm()).item()}


def _embeddings(n: int, device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, and documents beside them."""
    generator = torch.Generator(device).manual_seed(0)
    noise = [torch.randn(n, WIDTH, generator=generator, device=device) for _ in range(2)]
    queries = F.normalize(noise[0], dim=1)
    documents = F.normalize(queries + 0.05 * noise[1], dim=1)
    return [each.to(dtype).requires_grad_() for each in (queries, documents)]


def _bare(queries: torch.Tensor, documents: torch.Tensor) -> float:
    """Four products of 2 N² D: similarity, similarity again, and both gradients; in blocks of rows."""
    q, d = queries.detach(), documents.detach()
    for rows in q.split(FLOOR_ROWS[q.device.type]):
        block = torch.mm(rows, d.T)
        torch.mm(rows, d.T, out=block)
        torch.mm(block, d)
        torch.mm(block.T, rows)
    return 0.0


def _terms(num: int) -> tuple:
    from tempembed.objectives.parse import parse_objective
    from tempembed.objectives.term import Term

    if num == 11:
        return parse_objective("tempaggmrl-sign", WIDTH)
    dims, taus = (DIMS, TAUS) if num == 9 else ((WIDTH,), (0.06,))
    return tuple(Term(dim=dim, temperature=tau) for dim in dims for tau in taus)


def _engine(num_terms: int) -> Callable[..., float]:
    from tempembed.losses.contrastive import contrastive_loss

    terms = _terms(num_terms)

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
