"""Queries and documents with encoders of their own: a Router of sentence-transformers, both of whose routes are trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import Tensor, nn

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.pretrained import LibraryEncoder, PretrainedEncoder
from tempembed.encoders.role import ROLES, Prompts, Role, RoleName
from tempembed.inputs.inputs import Inputs
from tempembed.system.errors import UserError


class TwoTowerEncoder(LibraryEncoder):
    """A SentenceTransformer that begins with a Router; its towers share the weights of what follows the Router.

    Args:
        model: has the routes `query` and `document`.
        prompts: of the roles.

    Raises:
        UserError: towers of unlike widths, or routes of other names.
    """

    def __init__(self, model: SentenceTransformer, prompts: Prompts) -> None:
        super().__init__()
        router, *rest = list(model)
        routes: Mapping[str, Any] = router.sub_modules  # type: ignore[assignment]
        if missing := sorted(set(ROLES) - set(routes)):
            raise UserError(
                f"expected a Router with the routes query and document, got {', '.join(routes)} without {', '.join(missing)}; "
                "train the encoder of one route from its own folder"
            )
        self.model = model.float()
        self.prompts = prompts
        # not registered: their modules are the model's
        self._towers = {
            name: PretrainedEncoder(
                SentenceTransformer(modules=[*routes[name], *rest], device="cpu"), prompts
            )
            for name in ROLES
        }
        widths = {name: tower.width for name, tower in self._towers.items()}
        if len(set(widths.values())) > 1:
            raise UserError(f"expected towers of one width, got {widths}; add a Dense module to one of them")

    def towers(self) -> Mapping[RoleName, PretrainedEncoder]:
        """The encoder of each role."""
        return self._towers

    def tower(self, role: RoleName) -> str:
        """Each role has its own."""
        return role

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("limits", "prompts") and hasattr(self, "_towers"):
            for tower in self._towers.values():
                setattr(tower, name, value)
        super().__setattr__(name, value)

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self._towers["document"].width

    @property
    def max_tokens(self) -> int | None:
        """The higher limit of the towers; None: one has none."""
        limits = [tower.max_tokens for tower in self._towers.values()]
        return None if None in limits else max(limit for limit in limits if limit)

    def limit_to(self, max_tokens: int) -> None:
        """Make this the limit of both towers, where it is lower."""
        for tower in self._towers.values():
            tower.limit_to(max_tokens)

    @property
    def micro_batch_tokens(self) -> int:
        """What suits the tower that takes fewer."""
        return min(tower.micro_batch_tokens for tower in self._towers.values())

    def prepare(self, rows: Sequence[str], role: Role) -> Inputs:
        """Tokens of the role's tower, which carry its name."""
        return replace(self._towers[role.name].prepare(rows, role), tower=role.name)

    def chunks(self, inputs: Inputs, budget: int = 0, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through their tower together."""
        return self._tower(inputs).chunks(inputs, budget, split=split)

    def embed_chunk(self, chunk: Any) -> Float[Tensor, "B D"]:
        """Embeddings by the tower that the inputs are for."""
        return self._tower(chunk).embed_chunk(chunk)

    def _tower(self, inputs: Inputs) -> PretrainedEncoder:
        return self._towers[inputs.tower]  # type: ignore[index]

    def preparation(self) -> str:
        """Both tokenizers."""
        return "\n".join(f"{name} {tower.preparation()}" for name, tower in self._towers.items())

    def role_rules(self) -> str:
        """What `prepare` does in each tower."""
        return " ".join(f"{name} {tower.role_rules()}" for name, tower in self._towers.items())


def two_towers(query: Encoder, document: Encoder) -> TwoTowerEncoder:
    """A Router of two encoders, with the prompts that each has for its role; it shares their weights.

    Raises:
        UserError: encoders of unlike widths.
    """
    models = {"query": query.sentence_transformer(), "document": document.sentence_transformer()}
    routes: dict[str, list[nn.Module]] = {name: list(model.children()) for name, model in models.items()}
    router = Router.for_query_document(query_modules=routes["query"], document_modules=routes["document"])  # type: ignore[arg-type]
    roles = {"query": query.role("query").prompt, "document": document.role("document").prompt}
    model = SentenceTransformer(modules=[router], device="cpu")
    return TwoTowerEncoder(model, Prompts.of_config({"prompts": roles}, {}))
