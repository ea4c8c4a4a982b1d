"""The winners of a sweep go to the registry: each alias to the trial that is best at it, if it beats who holds it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tempembed.evaluation.report_files import REPORT, load_evaluation
from tempembed.tracking.registry import Registry, registered_name
from tempembed.tuning.promotion import Decision, Standing, decide, standing
from tempembed.tuning.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A finished trial."""

    name: str
    folder: Path
    run_id: str
    trial: Trial
    """Finished."""


def promote(
    registry: Registry,
    candidates: Sequence[Candidate],
    aliases: Sequence[str],
    data: str,
    training_fingerprint: str,
    save_codecs: Callable[[Path, dict[str, str]], None],
) -> tuple[str, list[Decision]]:
    """Decide every alias, register each trial that takes one, once, and let the aliases point at it.

    Args:
        registry: where.
        candidates: the trials, all measured on one test.
        aliases: `full` and bytes-N.
        data: name of the data set.
        training_fingerprint: of the training pairs.
        save_codecs: writes the fitted codecs of a model's folder, specs by alias, to its `codecs/`.

    Returns:
        The registered model, and the decisions in the order of the aliases.
    """
    fingerprint = candidates[0].trial.measured.data.tasks["retrieval"].fingerprint
    name = registered_name(data, fingerprint)
    reached = {candidate.name: _reached(candidate, aliases) for candidate in candidates}
    best = {alias: found for alias in aliases if (found := _best(candidates, reached, alias))}
    decisions = []
    taken: dict[str, dict[str, Standing]] = {}
    for alias, (candidate, new) in best.items():
        decision = decide(alias, new, _holder(registry, name, alias))
        decisions.append(decision)
        if decision.promote:
            taken.setdefault(candidate.name, {})[alias] = new
    for candidate in candidates:
        if won := taken.get(candidate.name):
            save_codecs(candidate.folder, {alias: new.row.spec for alias, new in won.items()})
            tags = _tags(candidate, reached[candidate.name], data, fingerprint, training_fingerprint)
            number = registry.register(candidate.run_id, candidate.folder, name, tags)
            for alias in won:
                registry.point(name, alias, number)
    return name, decisions


def _reached(candidate: Candidate, aliases: Sequence[str]) -> dict[str, Standing]:
    """The scores of a trial by alias; its report is read once for all of them."""
    evaluation = load_evaluation(candidate.folder / REPORT)
    found = {alias: standing(candidate.name, evaluation, alias) for alias in aliases}
    return {alias: new for alias, new in found.items() if new}


def _best(
    candidates: Sequence[Candidate], reached: Mapping[str, Mapping[str, Standing]], alias: str
) -> tuple[Candidate, Standing] | None:
    found = [(c, reached[c.name][alias]) for c in candidates if alias in reached[c.name]]
    return max(found, key=lambda pair: pair[1].row.score, default=None)


def _holder(registry: Registry, name: str, alias: str) -> Standing | None:
    for version in registry.versions(name):
        if alias in version.aliases:
            return standing(version.label, registry.measured(version), alias)
    return None


def _tags(
    candidate: Candidate,
    reached: Mapping[str, Standing],
    data: str,
    fingerprint: str,
    training_fingerprint: str,
) -> dict[str, str]:
    """Scores, intervals and codecs by alias, and where the version comes from."""
    trial = candidate.trial
    tags = {
        "objective": trial.objective, "seed": str(trial.seed), "trial": candidate.name, "data": data,
        "data_fingerprint": fingerprint, "training_fingerprint": training_fingerprint,
        "terms": " ".join(f"{term.dim}@{term.schedule}*{term.weight:g}" for term in trial.terms),
        "encoder": trial.encoder, "intrinsic_dimension": str(trial.measured.geometry.get("pca95")),
    }  # fmt: skip
    for alias, new in reached.items():
        row = new.row
        tags |= {
            f"{alias}.codec": row.spec, f"{alias}.score": f"{row.score:.4f}",
            f"{alias}.interval": f"{row.ci_low:.4f} to {row.ci_high:.4f}",
            f"{alias}.retention": f"{row.retention:.4f}",
        }  # fmt: skip
    return tags
