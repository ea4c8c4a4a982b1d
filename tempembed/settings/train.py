"""A training run as one frozen value; the command line of every entry point is made from it."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from tempembed.encoders.role import RoleName, asked
from tempembed.objectives.objective import Direction, Hardness, Terms, parse_objective, parse_terms
from tempembed.system.errors import UserError

INSTALLED_CODE = "installed-code"
"""The data source that is always at hand: see data/installed_code.py."""

DEFAULT_WIDTH = {"static": 1024, "transformer": 384}
DEFAULT_MAX_TOKENS = 256
"""Limit of the encoders that are made here."""
TABLE_LEARNING_RATE, SCRATCH_LEARNING_RATE, PRETRAINED_LEARNING_RATE = 0.01, 5e-4, 2e-5
"""Peaks for a static table (new or loaded), a transformer from scratch, a loaded one."""
MOST = 2**32 - 1
"""Of a whole number: random generators are seeded with 64 bits that are made of the seed, the step and the rank."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What to train, on what, how."""

    data: str = INSTALLED_CODE
    """Training pairs: a Parquet, JSON Lines or CSV file, a folder of them, a datasets hub name, or installed-code (the Python code of this environment)."""
    eval_data: str | None = None
    """Test pairs, evaluated after training. installed-code brings its own test split."""
    hold_out: float = 0.0
    """Without --eval-data: share of --data that is kept from training as the test; shares no text with the rest."""
    objective: str = "infonce:0.06"
    """infonce:0.06, mrl:0.06, tempagg:0.03,0.06,0.1, tempaggmrl:0.03,0.06,0.1 or tempspecmrl."""
    terms: tuple[str, ...] = ()
    """Explicit terms dim@temperature*weight, e.g. 256@0.03 512@0.06*0.5 1024@0.1; used in place of --objective."""
    direction: Direction = "query-to-document"
    """Which side looks for the other: both is the mean of the two losses."""
    beta: float = 0.0
    """Concentration on hard negatives (Robinson et al. 2021); 0: all negatives count alike."""
    tau_plus: float = 0.0
    """Share of the negatives that are thought to be right answers, taken off their sum (debiasing)."""
    temperature_learning_rate: float = 0.01
    """Peak learning rate of learned temperatures, on log(1/tau)."""
    encoder: str = "static"
    """static, transformer (small, from scratch), or a local path or hub name of a sentence-transformers or transformers model."""
    width: int | None = None
    """Embedding width of static (default 1024) and transformer (default 384)."""
    layers: int = 4
    """Layers of the transformer from scratch."""
    vocabulary: int = 8192
    """Tokens of the tokenizer that is trained on the data, for static and transformer."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """Of a plain transformers model, which has none; default mean. sentence-transformers models have their own."""
    query_prompt: str | None = None
    """Put before each query, in training, in every measurement, and by encode_query of the saved model; default: the model's
    own, by sentence-transformers' rules."""
    document_prompt: str | None = None
    """The same for documents and encode_document."""
    max_tokens: int | None = None
    """In training, texts are cut after so many tokens, prompt included; default: the model's own limit. For static and
    transformer it is the model's limit, 256 by default."""
    max_query_tokens: int | None = None
    """The same for queries only; default --max-tokens."""
    max_document_tokens: int | None = None
    """The same for documents only; default --max-tokens."""
    save_max_tokens: bool = False
    """Make --max-tokens the limit of a loaded model; without it the saved model keeps its own."""
    save_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type of the saved weights. Training is in float32, whatever the model was stored in."""
    epochs: float = 2.0
    """Passes over the data, unless --steps is given."""
    steps: int | None = None
    """Optimiser steps."""
    batch_size: int = 512
    """Global batch: pairs per step over all workers. Every other document in it is a negative."""
    single_source: bool = False
    """Fill each batch from one file of a --data folder, so that a negative is never told by its source."""
    micro_batch_tokens: int = 0
    """Padded tokens that a transformer takes at once, texts of like length together; 0: 2,048 on a CPU, whose caches
    hold that, 32,768 on a GPU; with --gradient-cache 262,144 for static."""
    gradient_cache: bool = False
    """Hold the activations of one micro-batch only: any batch whose embeddings fit, for one more forward."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the encoder's products; auto: bfloat16 on a GPU that has it, else float32."""
    learning_rate: float | None = None
    """Peak of the schedule; default 0.01 for a static table, new or loaded, 5e-4 for transformer, 2e-5 for a loaded one."""
    warmup: float = 0.1
    """Share of the steps with a rising learning rate; it then falls linearly to zero."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 turns clipping off."""
    seed: int = 0
    """Initial weights, data order and dropout are functions of it."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: after every epoch."""
    log_every: int = 10
    """Steps between progress reports."""
    skip_bad_rows: bool = False
    """Leave bad rows of --data out and count them, instead of stopping at the first."""
    min_score: float | None = None
    """Of data with a column of scores: rows from this score on are pairs."""
    allow_overlap: bool = False
    """Train although texts of --eval-data are in --data."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"--{name.replace('_', '-')}: expected a finite number, got {value}")
            if isinstance(value, int) and value > MOST:
                raise UserError(f"--{name.replace('_', '-')}: expected at most {MOST}, got {value}")
        positive = (
            "layers", "vocabulary", "epochs", "batch_size", "log_every",
            "temperature_learning_rate",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')}: expected > 0, got {getattr(self, name)}")
        limits = ("max_tokens", "max_query_tokens", "max_document_tokens")
        for name in ("steps", "width", "learning_rate", *limits):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')}: expected > 0, got {getattr(self, name)}")
        for name in ("weight_decay", "max_grad_norm", "checkpoint_every", "seed", "micro_batch_tokens"):
            if not getattr(self, name) >= 0:
                raise UserError(f"--{name.replace('_', '-')}: expected >= 0, got {getattr(self, name)}")
        if not 0 <= self.hold_out < 1:
            raise UserError(f"--hold-out: expected a share of the pairs, 0 to below 1, got {self.hold_out}")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"--warmup: expected a share of the steps, 0 to 1, got {self.warmup}")
        Hardness(beta=self.beta, tau_plus=self.tau_plus)  # checks them
        if self.batch_size < 2:
            raise UserError("--batch-size: expected at least 2, so that there is a negative, got 1")
        if self.encoder not in DEFAULT_WIDTH and self.width is not None:
            raise UserError(
                f"--width: {self.encoder} has a width of its own; leave --width out, "
                "or train on a prefix with --terms"
            )
        if self.own_encoder and self.pooling:
            raise UserError(f"--pooling: {self.encoder} has a pooling of its own; leave --pooling out")
        if self.save_max_tokens and self.max_tokens is None:
            raise UserError(
                "--save-max-tokens: expected --max-tokens, the limit that is saved, got none; add it"
            )

    @property
    def own_encoder(self) -> bool:
        """Whether the encoder is made here (static, transformer), not loaded."""
        return self.encoder in DEFAULT_WIDTH

    def peak_learning_rate(self, *, is_table: bool) -> float:
        """The peak learning rate, of an encoder that is a static table or a transformer."""
        usual = SCRATCH_LEARNING_RATE if self.own_encoder else PRETRAINED_LEARNING_RATE
        return self.learning_rate or (TABLE_LEARNING_RATE if is_table else usual)

    @property
    def prompts(self) -> dict[RoleName, str]:
        """Prompts that are asked for, by role."""
        return asked(self.query_prompt, self.document_prompt)

    @property
    def limits(self) -> dict[RoleName, int]:
        """Where texts of a role are cut in training, if not at the model's own limit."""
        return asked(self.max_query_tokens or self.max_tokens, self.max_document_tokens or self.max_tokens)

    def resolved_terms(self, width: int) -> Terms:
        """The objective as terms for an encoder of this width."""
        return parse_terms(self.terms, width) if self.terms else parse_objective(self.objective, width)

    @property
    def objective_name(self) -> str:
        """How the objective is called in tables: the name, or the terms."""
        return " ".join(self.terms) if self.terms else self.objective

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "terms": list(self.terms)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "TrainSettings":
        """The inverse of `to_dict`.

        Raises:
            UserError: not settings, or a value of another type.
        """
        hints = typing.get_type_hints(TrainSettings)
        if not isinstance(values, dict) or (unknown := sorted(map(str, set(values) - set(hints)))):
            found = f"unknown {unknown[:5]}" if isinstance(values, dict) else f"{str(values)[:60]!r}"
            raise UserError(f"settings: expected those of a training run, got {found}")
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for name, value in values.items():
            if not _is_a(value, hints[name]):
                raise UserError(f"settings: expected {name} to be {hints[name]}, got {str(value)[:60]!r}")
        return TrainSettings(**values)


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; a whole number is a float, true is no number."""
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # the second where a Literal is in it
        return any(_is_a(value, each) for each in typing.get_args(hint))
    return isinstance(value, hint)


def fingerprint(value: Any) -> str:
    """16 hex digits of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
