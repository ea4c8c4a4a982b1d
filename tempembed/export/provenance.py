"""Where an exported model is from: what its card says beside the numbers."""

from dataclasses import dataclass

from tempembed.settings.train import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Facts; what is not known is empty and left out of the card."""

    codec: str
    """As text: pca:128+int8."""
    objective: str = ""
    """The objective's name: infonce:0.06, tempaggmrl."""
    terms: tuple[str, ...] = ()
    """What the objective is, each `width@temperature*weight`."""
    encoder: str = ""
    """static, transformer, or what was fine-tuned."""
    seed: int | None = None
    data: str = ""
    """Training pairs, as --data named them."""
    data_fingerprint: str = ""
    """Fingerprint of the training pairs, as in `Prepared.meta`."""
    test_data: str = ""
    """What the report was measured on."""
    registered_name: str = ""
    """The registered model."""
    version: str = ""
    """Version of the registered model."""
    alias: str = ""
    """The alias that was asked for."""
    run_id: str = ""
    """MLflow's run that trained it."""

    @staticmethod
    def of_settings(settings: TrainSettings, width: int, codec: str) -> "Provenance":
        """The provenance of a local run, from its settings."""
        held_out = (
            f"{settings.data.hold_out:.0%} of the training data, held out" if settings.data.hold_out else ""
        )
        return Provenance(
            codec=codec, objective=settings.loss.objective_name, terms=tuple(map(str, settings.loss.resolved_terms(width))),
            encoder=settings.model.encoder, seed=settings.loop.seed, data=" ".join(settings.data.data), test_data=" ".join(settings.data.test) or held_out,
        )  # fmt: skip
