"""Which runs reproduce the paper: entries, each an objective under the paper's name, trained with every seed."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError

Role = Literal["single", "mrl", "multi", "extra", "views"]
"""single and mrl: one temperature, without and with prefixes; multi: the paper's sets; extra: what its reviewers missed; views:
terms on what an index stores."""
Study = Literal["paper", "compression"]
"""What is asked of the results: the paper's claims, or what terms on signs are worth to an index of bits."""
STATIC, TRANSFORMER, PRETRAINED = "static", "transformer", "pretrained"
PUBLISHED = "sentence-transformers/all-MiniLM-L6-v2"
"""What is pretrained, unless another model is named."""
BEST_SINGLE, BEST_MRL = "best single τ", "best MRL τ"
"""Baselines that the results choose: of the entries of a role, the one with the best retrieval."""
LOWEST, HIGHEST = 0.04, 0.4
"""The paper's range of temperatures: claims about a rising temperature are judged on it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the paper's tables."""

    label: str
    role: Role
    objective: str = ""
    """As in --objective."""
    terms: tuple[str, ...] = ()
    """In its place: explicit terms, with W for the full width and W/4 for a quarter of it."""
    temperature: float | None = None
    """The temperature of an entry with one."""
    beta: float = 0.0
    encoder: str = STATIC
    against: str = ""
    """Label of what it is compared with, of the same encoder, besides the claims."""
    question: str = ""
    """What that comparison asks."""

    @property
    def slug(self) -> str:
        """The label, safe for a file name."""
        words = self.label.lower().replace("τ=", "").replace("τ", "tau").replace("β", "beta")
        text = re.sub(r"[^a-z0-9.]+", "-", words).strip("-")
        return text if self.encoder == STATIC else f"{self.encoder}-{text}"

    def name(self, seed: int) -> str:
        """Name of its trial."""
        return f"{self.slug}-seed{seed}"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A reproduction."""

    name: str
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]
    study: Study = "paper"
    budgets: tuple[int, ...] = ()
    """Bytes per vector whose codecs are measured besides the paper's."""
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of the runs of each encoder, as in TrainSettings, with `encoder` where that is no name of ours. Runs of unlike
    encoders need data that is tokenised apart."""

    @property
    def goals(self) -> tuple[str, ...]:
        """Goals of its sweeps."""
        return ("retrieval", *(f"bytes-{budget}" for budget in self.budgets))

    def overrides(self, encoder: str) -> dict[str, Any]:
        """All settings of the runs of an encoder that are not the defaults."""
        return {"encoder": encoder, **self.encoders[encoder]}

    def with_model(self, model: str) -> "Preset":
        """The preset with another pretrained model."""
        if PRETRAINED not in self.encoders:
            return self
        own = {**self.encoders[PRETRAINED], "encoder": model}
        return dataclasses.replace(self, encoders={**self.encoders, PRETRAINED: own})

    def of(self, *encoders: str) -> "Preset":
        """The part with these encoders, in this order.

        Raises:
            UserError: the preset has no such encoder.
        """
        if not encoders or any(encoder not in self.encoders for encoder in encoders):
            raise UserError(
                f"preset {self.name}: expected encoders of {', '.join(self.encoders)}, got {', '.join(encoders) or 'none'}"
            )
        return dataclasses.replace(
            self,
            entries=tuple(entry for entry in self.entries if entry.encoder in encoders),
            encoders={encoder: self.encoders[encoder] for encoder in encoders},
        )


def settings(preset: Preset, base: TrainSettings) -> dict[str, TrainSettings]:
    """The runs by name; those of a seed see the same data in the same order.

    Args:
        preset: what is run.
        base: everything that the preset does not set, such as the data.

    Raises:
        UserError: two runs of one name.
    """
    runs: dict[str, TrainSettings] = {}
    for entry in preset.entries:
        common = changed(base, **preset.overrides(entry.encoder))
        terms = tuple(_of_width(term, common.model.width) for term in entry.terms)
        chosen = {"terms": terms} if terms else {"objective": entry.objective, "terms": ()}
        for seed in preset.seeds:
            if entry.name(seed) in runs:
                raise UserError(
                    f"preset {preset.name}: expected each label and seed once, got {entry.name(seed)} twice"
                )
            runs[entry.name(seed)] = changed(common, **chosen, beta=entry.beta, seed=seed)
    return runs


def _of_width(term: str, width: int | None) -> str:
    """The term with numbers for W and W/4."""
    return re.sub(r"^W(?:/(\d))?", lambda found: str((width or 0) // int(found[1] or 1)), term)


def single(tau: float, encoder: str = STATIC) -> Entry:
    """Plain InfoNCE."""
    return Entry(
        label=f"InfoNCE τ={tau:g}", role="single", objective=f"infonce:{tau:g}", temperature=tau, encoder=encoder,
    )  # fmt: skip


def mrl(tau: float, encoder: str = STATIC) -> Entry:
    """InfoNCE on three prefixes."""
    return Entry(
        label=f"MRL τ={tau:g}", role="mrl", objective=f"mrl:{tau:g}", temperature=tau, encoder=encoder
    )


def multi(encoder: str = STATIC) -> tuple[Entry, ...]:
    """The paper's sets of temperatures."""
    return (
        Entry(label="TempAgg", role="multi", objective="tempagg", encoder=encoder),
        Entry(
            label="TempAggMRL", role="multi", objective="tempaggmrl", encoder=encoder, against=BEST_MRL,
            question="What does the sum over temperatures add to prefixes at one temperature?",
        ),
        Entry(label="TempSpecMRL", role="multi", objective="tempspecmrl", encoder=encoder),
    )  # fmt: skip


BETA = 1.0


def extras() -> tuple[Entry, ...]:
    """Entries that the paper's reviewers missed (docs/design/paper.md 1.8), each with its natural baseline."""
    taus = (0.03, 0.06, 0.1)
    mean = sum(taus) / len(taus)
    scaled = tuple(f"W@{tau:g}*{tau / mean:.4g}" for tau in taus)
    return (
        Entry(
            label="InfoNCE, learned τ", role="extra", objective="infonce:learned(0.06)", against=BEST_SINGLE,
            question="Does a learned temperature find the best fixed one?",
        ),
        Entry(
            label="InfoNCE, cosine τ 0.03-0.1", role="extra", objective="infonce:cosine(0.03,0.1)", against="TempAgg",
            question="Does a schedule over the same temperatures (Kukleva et al. 2023) do what their sum does?",
        ),
        Entry(
            label="TempAgg, 5 temperatures", role="extra", objective="tempagg:0.03,0.04,0.06,0.08,0.1", against="TempAgg",
            question="Do more temperatures in the same range help?",
        ),
        Entry(
            label="TempAgg, terms scaled by τ", role="extra", terms=scaled, against="TempAgg",
            question="Does it matter that the gradient of L_τ carries 1/τ? Weights proportional to τ undo it.",
        ),
        Entry(
            label="TempSpecMRL reversed", role="extra", objective="tempspecmrl:0.1,0.06,0.03", against="TempSpecMRL",
            question="Does the direction matter? Here the shortest prefix has the largest temperature.",
        ),
        Entry(
            label=f"InfoNCE τ=0.1, β={BETA:g}", role="extra", objective="infonce:0.1", beta=BETA, against="InfoNCE τ=0.1",
            question="Do hard-negative weights (Robinson et al. 2021) change what a temperature gives?",
        ),
    )  # fmt: skip


SMALL = {"width": 128, "max_tokens": 32, "batch_size": 256, "learning_rate": 2e-3}
"""A transformer that learns something in a minute on a CPU."""


FINE_TUNED = {
    "encoder": PUBLISHED,
    "max_tokens": 48,
    "save_max_tokens": True,
    "batch_size": 128,
    "learning_rate": 1e-4,
}
"""A published model, fine-tuned for some minutes on a CPU, and measured on as many tokens as it saw; at the usual 2e-5 so few steps
hardly move it."""


def pretrained() -> tuple[Entry, ...]:
    """The paper's objectives on a published model: five temperatures, prefixes, and the sets."""
    singles = (single(tau, PRETRAINED) for tau in (0.04, 0.06, 0.1, 0.2, 0.4))
    return (*singles, mrl(0.06, PRETRAINED), *multi(PRETRAINED))


def quick() -> Preset:
    """A quarter of an hour on 2 cores: half the width, one pass over the data; the transformer only for the directions."""
    return Preset(
        name="quick", seeds=(0, 1, 2),
        entries=(
            *map(single, (0.04, 0.06, 0.1, 0.2, 0.4)), *map(mrl, (0.04, 0.1, 0.4)), *multi(), *extras(),
            single(0.04, TRANSFORMER), single(0.4, TRANSFORMER), *pretrained(),
        ),
        encoders={
            STATIC: {"width": 512, "epochs": 1.0, "batch_size": 1024},
            TRANSFORMER: {**SMALL, "layers": 1, "steps": 60},
            PRETRAINED: {**FINE_TUNED, "steps": 30},
        },
    )  # fmt: skip


def full() -> Preset:
    """About an hour on 2 cores: the width of the paper, two passes, all temperatures with and without prefixes."""
    schedule = Entry(
        label="MRL, cosine τ 0.03-0.1", role="extra", objective="mrl:cosine(0.03,0.1)", against="TempAggMRL",
        question="Does a schedule with prefixes do what TempAggMRL does?",
    )  # fmt: skip
    return Preset(
        name="full", seeds=(0, 1, 2),
        entries=(
            *map(single, (0.03, 0.04, 0.06, 0.1, 0.2, 0.4)), *map(mrl, (0.04, 0.06, 0.1, 0.2, 0.4)),
            *multi(), *extras(), schedule,
            *(single(tau, TRANSFORMER) for tau in (0.04, 0.1, 0.4)), *multi(TRANSFORMER), *pretrained(),
        ),
        encoders={
            STATIC: {"width": 1024, "epochs": 2.0, "batch_size": 1024},
            TRANSFORMER: {**SMALL, "layers": 2, "steps": 120},
            PRETRAINED: {**FINE_TUNED, "steps": 100},
        },
    )  # fmt: skip


def pictures() -> Preset:
    """A quarter of an hour on 2 cores: a convolution tower, and word vectors where there are words."""
    learned, *_ = extras()
    return Preset(
        name="pictures", seeds=(0, 1, 2),
        entries=(*map(single, (0.04, 0.06, 0.1, 0.2, 0.4)), *map(mrl, (0.04, 0.1, 0.4)), *multi(), learned),
        encoders={STATIC: {"width": 256, "steps": 200, "batch_size": 256, "direction": "both"}},
    )  # fmt: skip


AGGREGATED = tuple(f"{part}@{tau:g}" for part in ("W/4", "W/2", "W") for tau in (0.03, 0.06, 0.1))
"""TempAggMRL, term by term."""
SIGNS = ("W/4@0.04:sign*2", "W@0.02:sign*2")
"""What tempaggmrl-sign adds to it."""
BUDGETS = (512, 128, 64, 32)


def _with(base: str, terms: tuple[str, ...], what: str, question: str) -> Entry:
    """A base with terms added."""
    bases = {"InfoNCE τ=0.06": ("W@0.06",), "TempAggMRL": AGGREGATED}
    return Entry(label=f"{base} + {what}", role="views", terms=(*bases[base], *terms), against=base, question=question)  # fmt: skip


def views() -> tuple[Entry, ...]:
    """The best of them on their own data, which are confirmed on other data."""
    ours = "What do terms on signs add to TempAggMRL?"
    return (
        Entry(label="TempAggMRL", role="multi", objective="tempaggmrl"),
        Entry(label="TempAggMRL + signs", role="views", objective="tempaggmrl-sign", against="TempAggMRL", question=ours),
        _with("TempAggMRL", ("W/4@0.04:bits*2", "W@0.02:bits*2"), "bits", "What does the view of re-ranking add?"),
        _with(
            "TempAggMRL", ("W/4@0.04:sign*4", "W/4@0.04:bits*4", "W@0.02:sign", "W@0.02:bits"), "a quarter's bits",
            "And if the quarter's bits weigh most, for the smallest index?",
        ),
        Entry(
            label="TempSpecBits", role="views", objective="tempspecbits", against="TempAggMRL",
            question="Are signs alone enough?",
        ),
    )  # fmt: skip


def compression() -> Preset:
    """Terms on signs by temperature and width, with and without prefixes and several temperatures."""
    return Preset(
        name="compression", seeds=(0, 1, 2), study="compression", budgets=BUDGETS,
        entries=(
            *views(),
            single(0.06),
            _with("InfoNCE τ=0.06", ("W@0.02:sign*2",), "signs", "What do they add to one temperature?"),
            Entry(
                label="TempAggMRL + floats", role="extra", terms=(*AGGREGATED, *(term.replace(":sign", "") for term in SIGNS)),
                against="TempAggMRL", question="Is it the signs, or their small temperatures?",
            ),
            _with("TempAggMRL", ("W/4@0.06:sign*2", "W@0.06:sign*2"), "signs at τ=0.06", "And at a higher temperature?"),
        ),
        encoders={STATIC: {"width": 1024, "epochs": 2.0, "batch_size": 1024}},
    )  # fmt: skip


def compression_quick() -> Preset:
    """The part of it that is confirmed on data of one's own."""
    whole = compression()
    return dataclasses.replace(whole, name="compression-quick", entries=views())


PRESETS = {
    "quick": quick,
    "full": full,
    "pictures": pictures,
    "compression": compression,
    "compression-quick": compression_quick,
}
