"""Measure the model of a finished run on its own test, and keep the report beside it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tempembed.codecs.codec import Codec
from tempembed.codecs.sets import ALIAS_BUDGETS, fitting_specs, sweep_specs
from tempembed.codecs.spec import parse_spec
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import RoleName
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.evaluate import Embed, evaluate
from tempembed.evaluation.kinds import task_kinds
from tempembed.evaluation.report import Evaluation, Report
from tempembed.evaluation.report_files import REPORT, write_report
from tempembed.inputs.inputs import Inputs
from tempembed.system.names import check_name


def kinds_of_runs() -> list[str]:
    """What a run measures of its model; `tempembed evaluate` measures all kinds."""
    return [name for name, kind in task_kinds().items() if kind.in_runs]


def evaluate_trained(
    output: Path,
    test: tuple[Corpus, Inputs, Inputs],
    say: Callable[[str], None] = lambda _: None,
    *,
    budgets: Sequence[int] = ALIAS_BUDGETS,
    cost: Mapping[str, float] | None = None,
    temperatures: Mapping[str, float] | None = None,
) -> Report:
    """The report of the model in `output` on `Prepared.evaluation()`; written there as well.

    Args:
        output: the model's folder.
        test: texts or pictures, and what goes into the encoder for them.
        say: takes lines of progress.
        budgets: bytes per vector whose codecs are measured besides the paper's.
        cost: of the training, for the report; the seconds of the measurement join it.
        temperatures: what the moving ones ended at, by term, for the report.
    """
    began = time.monotonic()
    evaluation = evaluate_part(load_encoder(str(output)), test, model=str(output), budgets=budgets, say=say)
    report = replace(
        evaluation.report,
        temperatures=dict(temperatures or {}),
        cost={**(cost or {}), "evaluation_seconds": time.monotonic() - began},
    )
    return write_report(replace(evaluation, report=report), output / REPORT)


def evaluate_part(
    encoder: Encoder,
    part: tuple[Corpus, Inputs, Inputs],
    *,
    model: str,
    budgets: Sequence[int],
    say: Callable[[str], None],
    texts: Embed | None = None,
) -> Evaluation:
    """What every run measures.

    Args:
        encoder: the model.
        part: the data.
        model: its name in the report.
        budgets: bytes per vector whose codecs are measured besides the paper's.
        say: takes lines of progress.
        texts: embeds texts, in place of the encoder their tokens.
    """
    corpus, query_inputs, document_inputs = part

    def embed(texts: Sequence[str], role: RoleName, prompt: str | None) -> Tensor:
        return encoder.embed(
            query_inputs if texts is corpus.queries else document_inputs
        )  # of their roles already

    tasks = corpus.tasks(kinds_of_runs())
    return evaluate(
        tasks,
        texts or embed,
        model=model,
        specs=lambda full: sweep_specs(full, budgets),
        by_kind={name: fitting_specs for name, kind in task_kinds().items() if kind.fits_models},
        labels=corpus.labels,
        say=say,
    )


def save_codecs(output: Path, test: tuple[Corpus, Inputs, Inputs], specs: Mapping[str, str]) -> None:
    """Fit codecs of the model in `output` on the test documents, as its report had them, and keep them in `codecs/NAME`."""
    encoder = load_encoder(str(output))
    documents = encoder.embed(test[2])
    for name, text in specs.items():
        check_name(name, "alias")
        Codec.fit(parse_spec(text, encoder.width), documents).save(output / "codecs" / name)
