"""`tempembed recommend`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tempembed.tuning.recommend import Recommendation


@dataclass(frozen=True, kw_only=True)
class Recommend:
    """Which registered model and codec for N bytes a vector, what is lost, and what comes next.

    For a budget that has an alias (512, 128, 32) the answer is who holds it; for others the best of all versions.

    Example: tempembed recommend --bytes 128

    Then: tempembed export --alias bytes-128 --output model-128
    """

    bytes: int = 128
    """A document's, all that is stored counted."""
    name: str | None = None
    """The registered model; default: the one that changed last."""
    mlflow_uri: str | None = None
    """MLflow's tracking server or database; default: MLFLOW_TRACKING_URI, or the database that `make demo` left."""


def recommend_command(command: Recommend) -> None:
    """`tempembed recommend`."""
    name, found = answer(command.bytes, command.name, command.mlflow_uri)
    print(f"{name}\n{found.text()}")


def answer(num_bytes: int, name: str | None, mlflow_uri: str | None) -> "tuple[str, Recommendation]":
    """The registered model's name, and the recommendation.

    Raises:
        UserError: nothing that small is registered.
    """
    from tempembed.tracking.registry import Registry, default_uri
    from tempembed.tuning.recommend import recommend_model

    registry = Registry(default_uri(mlflow_uri))
    name = registry.name(name)
    versions = [version for version in registry.versions(name) if version.aliases]
    holder = next((v.label for v in versions if f"bytes-{num_bytes}" in v.aliases), None)
    return name, recommend_model({v.label: registry.measured(v) for v in versions}, num_bytes, holder)
