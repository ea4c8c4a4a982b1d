"""The commands as functions, for a notebook or a script; arguments are the flags, with underscores.

    import tempembed.api as te

    model = te.train(data="pairs.parquet", hold_out=0.1, objective="tempaggmrl", output="runs/one")
    print(model.report.geometry["pca95"])     # its intrinsic dimension
    te.evaluate(model.folder, data="test.parquet", output="report.json")
    te.export(model.folder, codec="prefix:256+int8", output="model-256")

What is wrong raises `tempembed.system.errors.UserError`, with what was expected, what was found, and what to do.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.commands.evaluate import Evaluate, measure
from tempembed.commands.export import Export, export_command
from tempembed.commands.train import Train, train_command
from tempembed.settings.train import TrainSettings

if TYPE_CHECKING:
    from tempembed.encoders.encoder import Encoder
    from tempembed.evaluation.report import Report
    from tempembed.tuning.recommend import Recommendation


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What a run left."""

    folder: Path
    """Loads with `sentence_transformers.SentenceTransformer(str(folder))`."""
    report: "Report | None"
    """What was measured on the test data; None without any."""

    def encoder(self) -> "Encoder":
        """The model as tempembed's encoder."""
        from tempembed.encoders.load import load_encoder

        return load_encoder(str(self.folder))


def train(*, output: str | Path, resume: bool = False, **settings: Any) -> TrainedModel:
    """`tempembed train`: train an encoder on pairs, measure it, save it for sentence-transformers.

    Args:
        output: a new or empty folder for the model.
        resume: continue an earlier run in `output`.
        settings: flags of `tempembed train`, such as data, eval_data, objective, encoder, steps.

    Raises:
        UserError: bad data, a setting out of its range, an output that is not empty.
        TypeError: a setting that there is none of.
    """
    from tempembed.evaluation.report import read_report
    from tempembed.evaluation.report_files import REPORT

    folder = Path(output).expanduser()
    train_command(Train(output=str(folder), resume=resume, train=TrainSettings.of(**settings)))
    report = folder / REPORT
    return TrainedModel(folder=folder, report=read_report(report) if report.exists() else None)


def evaluate(model: str | Path, **options: Any) -> "Report":
    """`tempembed evaluate`: every task under every codec, with intervals, and the geometry.

    Args:
        model: a folder or a hub name.
        options: flags of `tempembed evaluate`, such as data, tasks, codecs; without output, no files are left.

    Raises:
        UserError: a model, data or codec that cannot be, or an output that is there.
    """
    with tempfile.TemporaryDirectory() as folder:
        return measure(Evaluate(**{"model": str(model), "output": f"{folder}/report.json", **options}))


def export(model: str | Path, *, output: str | Path, **options: Any) -> Path:
    """`tempembed export`: the model with its codec, a card and an example, as a folder.

    Args:
        model: the folder of a trained model.
        output: a new or empty folder.
        options: flags of `tempembed export`, such as codec and data.

    Raises:
        UserError: a model or codec that cannot be, or an output that is not empty.
    """
    export_command(Export(model=str(model), output=str(output), **options))
    return Path(output)


def recommend(num_bytes: int, *, name: str | None = None, mlflow_uri: str | None = None) -> "Recommendation":
    """`tempembed recommend`: which registered model and codec for so many bytes a vector, and what is lost.

    Args:
        num_bytes: a document's, all that is stored counted.
        name: the registered model; default: the one that changed last.
        mlflow_uri: MLflow's tracking server or database.

    Raises:
        UserError: nothing that small is registered.
    """
    from tempembed.commands.recommend import answer

    return answer(num_bytes, name, mlflow_uri)[1]
