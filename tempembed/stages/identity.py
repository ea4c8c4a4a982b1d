"""What a run is: what its result depends on. Another value of anything else is the same run, and goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tempembed.encoders.from_scratch import is_from_scratch
from tempembed.inputs.mixture import source_shares
from tempembed.objectives.term import Term
from tempembed.settings.flat import restored
from tempembed.settings.model import DEFAULT_MAX_TOKENS
from tempembed.settings.train import TrainSettings

if TYPE_CHECKING:
    from tempembed.encoders.encoder import Encoder
    from tempembed.stages.prepared import Prepared

RESUMABLE_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "computation": ("gradient_cache", "micro_batch_tokens", "gradient_checkpointing"),
    "reporting": ("log_every", "checkpoint_every", "checkpoint_minutes", "verdict"),
    "content": (
        "data",
        "eval_data",
        "hold_out",
        "dev_data",
        "dev_hold_out",
        "skip_bad_rows",
        "min_score",
        "allow_overlap",
    ),
}
"""Settings that a run may go on with other values of, by what they change: how a step is computed, when something is said or
saved, and which texts are read, whose content counts and not the name they have."""
RESOLVED_SETTINGS = (
    "objective", "terms", "encoder", "width", "layers", "vocabulary", "epochs", "steps", "learning_rate",
    "temperature_learning_rate", "precision", "single_source", "max_tokens", "guide",
)  # fmt: skip
"""Settings that count as what they come to: `mrl:0.06` is its terms, `--epochs` a number of steps."""
_APART = {*RESOLVED_SETTINGS, *(name for names in RESUMABLE_SETTINGS.values() for name in names)}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What prepared data and the encoder are, by content."""

    data: str
    """Fingerprint of the training pairs."""
    encoder: str
    """What the encoder is before training: its name if it is made here, otherwise its content."""
    width: int
    """Width of the embeddings."""
    is_table: bool
    """Whether it is a static table, which learns at a rate of its own."""
    sizes: tuple[int, ...]
    """Training pairs of each file that they are from."""
    dev: str = ""
    """Fingerprint of the dev pairs; empty without any."""
    groups: tuple[int, ...] = ()
    """For each file, which of several sources that were given it is of; empty where one was given."""
    guide: str | None = None
    """Fingerprint of the model that masks candidates."""

    def shares(self, settings: TrainSettings) -> tuple[float, ...]:
        """The share of each file among the rows that are drawn; () without weights."""
        return source_shares(settings.data.weights, self.sizes, self.groups)

    @staticmethod
    def of(prepared: "Prepared", settings: TrainSettings, encoder: "Encoder") -> "Facts":
        """The facts of a run's data, and of its encoder before training."""
        is_made_here = settings.model.own_encoder and (
            encoder.modalities == {"text"} or settings.model.own_image_encoder
        )
        content = settings.model.encoder if is_made_here else encoder.fingerprint()
        return Facts(
            data=prepared.meta["fingerprint"], encoder=content, width=encoder.width, is_table=encoder.is_table,
            sizes=prepared.sizes, groups=prepared.groups, dev=prepared.meta.get("dev", ""), guide=prepared.meta.get("guide"),
        )  # fmt: skip

    def noted(self) -> dict[str, str]:
        """What a folder keeps of them, for `restored`."""
        return {
            "fingerprint": self.data,
            "encoder_content": self.encoder,
            **({"dev": self.dev} if self.dev else {}),
        }

    def restored(self, noted: Mapping[str, Any], settings: TrainSettings) -> "Facts":
        """The facts of a run that is resumed; what an earlier version of us has not noted of it is as here.

        Args:
            noted: what its folder has.
            settings: its own.
        """
        if made := settings.model.made_here:
            encoder, width = settings.model.encoder, settings.model.width or made.width
            is_table = made.is_table
        else:
            here = settings.model.encoder if is_from_scratch(self.encoder) else self.encoder
            encoder, width, is_table = noted.get("encoder_content") or here, self.width, self.is_table
        data = noted.get("fingerprint") or self.data
        return Facts(
            data=data, encoder=encoder, width=width, is_table=is_table, sizes=self.sizes, groups=self.groups,
            dev=noted.get("dev") or self.dev,
        )  # fmt: skip


def count_steps(settings: TrainSettings, facts: Facts) -> int:
    """Optimiser steps of a run."""
    is_split = settings.batches.single_source and not facts.shares(settings)
    parts = facts.sizes if is_split else (sum(facts.sizes),)
    return settings.loop.steps or max(
        1, round(settings.loop.epochs * sum(n // settings.batches.batch_size for n in parts))
    )


def settings_identity(settings: TrainSettings) -> dict[str, Any]:
    """The part of `run_identity` that can be told before the data is read."""
    return {name: value for name, value in settings.to_dict().items() if name not in _APART}


def run_identity(settings: TrainSettings, facts: Facts, *, bfloat16: bool | None = None) -> dict[str, Any]:
    """What makes it this run, as JSON values; what has no effect on it is not there. The order of its terms has: they are summed in it.

    Args:
        settings: of the run.
        facts: of its data.
        bfloat16: whether the products of its encoder are in it; None where only a worker can tell.
    """
    terms = settings.loss.resolved_terms(facts.width)
    found = {
        **settings_identity(settings),
        "data": facts.data,
        "encoder": facts.encoder,
        "guide": facts.guide,
        "width": facts.width,
        "terms": [_exact(term) for term in terms],
        "num_steps": count_steps(settings, facts),
        "learning_rate": settings.peak_learning_rate(is_table=facts.is_table),
        "single_source": settings.batches.single_source and len(facts.sizes) > 1,
    }
    found["max_tokens"] = settings.model.max_tokens
    if made := settings.model.made_here:
        found["max_tokens"] = settings.model.max_tokens or DEFAULT_MAX_TOKENS
        found["vocabulary"] = settings.model.vocabulary
        if made.has_layers:
            found["layers"] = settings.model.layers
    if len(facts.sizes) > 1:
        found["shares"] = list(facts.shares(settings))
    if any(term.course and term.course.is_learned for term in terms):
        found["temperature_learning_rate"] = settings.loss.temperature_learning_rate
    if settings.chooses:
        found["dev"] = facts.dev
    if bfloat16 is not None:
        found["precision"] = "bfloat16" if bfloat16 else "float32"
    return found


def restored_identity(stored: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The identity in a checkpoint; that of before, all settings as they were given, is resolved as it would be here.

    A setting that there was not when it was written had what is now its default.

    Raises:
        UserError: it is none.
    """
    if "log_every" not in stored:
        return {**settings_identity(TrainSettings()), **stored}
    settings = restored_settings(stored)
    found = run_identity(settings, facts.restored(stored, settings))
    return found | {"num_steps": stored.get("num_steps", found["num_steps"])}


def restored_settings(stored: Mapping[str, Any], asked: TrainSettings | None = None) -> TrainSettings:
    """Settings of a run that an earlier version of us may have written (`restored`).

    Raises:
        UserError: a value of another type, or code to import that `asked` does not name.
    """
    return restored(TrainSettings(), stored, asked)


def _exact(term: Term) -> str:
    """A term as `parse_terms` reads it, with all digits."""
    temperature = repr(term.temperature)
    if course := term.course:
        periods = (1.0,) if course.shape == "cosine" and len(course.values) == 2 else ()
        temperature = f"{course.shape}({','.join(map(repr, (*course.values, *periods)))})"
    return term.written(temperature, repr(term.weight))
