"""The commands as functions, for a notebook or a script; arguments are the flags, with underscores.

    import tempembed as te

    run = te.train(pairs, encoder="all-MiniLM-L6-v2", objective="tempaggmrl", hold_out=0.1)
    te.evaluate(run, test)                       # every task under every codec, with intervals
    te.codecs(run, test, bytes=128).codec        # which codec for 128 bytes a vector
    te.export(run, codec="prefix:256+int8", output="model-256")

Data are paths and hub names, lists of dictionaries, pandas frames, Arrow tables, `datasets.Dataset`; or several of these with weights,
`[(a, 2), (b, 1)]`. What a program holds is kept once as a file in the cache, by its content.

What is wrong raises `UserError`, with what was expected, what was found, and what to do.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.commands.codecs import Codecs, choose_codecs
from tempembed.commands.compare import compared
from tempembed.commands.encode import Encode, encode_here
from tempembed.commands.evaluate import Evaluate, measure
from tempembed.commands.export import Export, export_command
from tempembed.commands.mine import Mine, Mined
from tempembed.commands.mine import mine as mine_
from tempembed.commands.pretrain import Pretrain, pretrain_command
from tempembed.commands.search import find
from tempembed.commands.train import Train, train_command
from tempembed.data.memory import places
from tempembed.evaluation.report import Evaluation
from tempembed.evaluation.report_files import REPORT, load_evaluation
from tempembed.index.shards import Encoded
from tempembed.reports.results import Answers, CodecChoice, Comparison, Results, TrainedModel
from tempembed.settings.config import read_config
from tempembed.settings.flat import changed, names
from tempembed.settings.sources import is_place
from tempembed.system.console import quietly
from tempembed.system.errors import UserError
from tempembed.system.names import file_name
from tempembed.tuning.verdict import VERDICT, read_verdict

if TYPE_CHECKING:
    from tempembed.tuning.recommend import Recommendation

__all__ = [
    "TrainedModel", "UserError", "codecs", "compare", "encode", "evaluate", "export", "load", "mine", "pretrain", "recommend",
    "search", "train",
]  # fmt: skip

Model = str | os.PathLike[str]
"""A folder, a hub name, or what `train` returned."""
_DATA = ("data", "dev_data", "eval_data")


def train(
    data: Any = None,
    *,
    dev: Any = None,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> TrainedModel:
    """`tempembed train`: train an encoder on pairs, measure it, save it for sentence-transformers.

    Args:
        data: training pairs; default: those of `config`, or the Python code of this environment.
        dev: pairs that choose (`dev_data`).
        output: a new or empty folder for the model; default: a new one in runs/, named by the objective and the time.
        config: a file of settings, such as run.yaml of an earlier run; the arguments win over it.
        resume: continue an earlier run in `output`.
        quiet: say nothing of the progress.
        settings: flags of `tempembed train`, such as encoder, objective, eval_data, hold_out, steps.

    Raises:
        UserError: bad data, a setting out of its range, an output that is not empty.
        TypeError: a setting that there is none of.
    """
    values = _values(Train, config, {**settings, "resume": resume}, {"data": data, "dev_data": dev})
    with _located(values, _DATA), quietly(quiet):
        objective = " ".join(values.get("terms", ())) or values.get("objective", "run")
        folder = Path(output).expanduser() if output else _new_folder(objective)
        train_command(changed(Train(output=str(folder)), **{**values, "output": str(folder)}))
    return load(folder)


def pretrain(
    text: Any = None,
    *,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> TrainedModel:
    """`tempembed pretrain`: pre-train an encoder on raw text by masked language modelling; `train(encoder=...)` goes on from it.

    Args:
        text: files, folders, globs, hub names, or data with a column of texts; default: the text of this machine.
        output: a new or empty folder for the model; default: a new one in runs/.
        config: a file of settings, such as run.yaml of an earlier run; the arguments win over it.
        resume: continue an earlier run in `output`.
        quiet: say nothing of the progress.
        settings: flags of `tempembed pretrain`, such as encoder, tokens, column, exclude.

    Raises:
        UserError: text that cannot be read, a setting out of its range, an output that is not empty.
        TypeError: a setting that there is none of.
    """
    values = _values(Pretrain, config, {**settings, "resume": resume}, {"text": text})
    with _located(values, ("text", "exclude")), quietly(quiet):
        folder = Path(output).expanduser() if output else _new_folder("pretrained")
        pretrain_command(changed(Pretrain(output=str(folder)), **{**values, "output": str(folder)}))
    return load(folder)


def load(folder: Model) -> TrainedModel:
    """The model of an earlier run, with what was measured of it.

    Raises:
        UserError: a report that is damaged.
    """
    path = Path(folder).expanduser()
    if not (path / "modules.json").exists():
        raise UserError(f"{path}: expected the folder of a trained model, found no modules.json; was the run stopped?")  # fmt: skip
    report = Results.of(load_evaluation(path / REPORT)) if (path / REPORT).exists() else None
    return TrainedModel(folder=path, report=report, verdict=read_verdict(path / VERDICT))


def evaluate(model: Model, data: Any = None, *, quiet: bool = False, **options: Any) -> Results:
    """`tempembed evaluate`: every task under every codec, with intervals, and the geometry.

    Args:
        model: the model.
        data: test pairs; of several sources each has a score too.
        quiet: say nothing of the progress.
        options: flags of `tempembed evaluate`, such as tasks, codecs; without output, no files are left.

    Raises:
        UserError: a model, data or codec that cannot be, or an output that is there.
    """
    options |= {} if data is None else {"data": data}
    with _located(options, ("data",)), quietly(quiet), tempfile.TemporaryDirectory() as folder:
        command = Evaluate(**{"output": f"{folder}/report.json", **options, "model": os.fspath(model)})  # fmt: skip
        measure(command)
        return Results.of(load_evaluation(Path(command.output)))


def codecs(
    model: Model, data: Any = None, *, bytes: int = 128, quiet: bool = False, **options: Any
) -> CodecChoice:
    """`tempembed codecs`: which codec for so many bytes a vector, and the best of each usual size.

    Args:
        model: the model.
        data: test pairs.
        bytes: a document's, all that is stored counted.
        quiet: say nothing of the progress.
        options: flags of `tempembed codecs`; without output, no files are left.

    Raises:
        UserError: a model, data or budget that cannot be, or an output that is there.
    """
    output = options.get("output")
    options |= {"bytes": bytes, **({} if data is None else {"data": data})}
    with _located(options, ("data",)), quietly(quiet), tempfile.TemporaryDirectory() as folder:
        found = choose_codecs(Codecs(**{"output": f"{folder}/codecs", **options, "model": os.fspath(model)}))  # fmt: skip
    return CodecChoice(
        report=Results.of(found.evaluation), best=found.best, budgets=found.budgets, folder=Path(output) if output else None,
    )  # fmt: skip


def compare(first: Any, *others: Any, codecs: Sequence[str] = ("float32", "binary")) -> Comparison:
    """`tempembed compare`: paired differences to the first, on the same data.

    Args:
        first: what `evaluate`, `codecs` or `train` returned, a report's file, or the folder of a run.
        others: the same of other models.
        codecs: under which they are compared.

    Raises:
        UserError: reports on other data, or codecs that they do not share.
    """
    loaded = [_evaluation(each) for each in (first, *others)]
    rows = {each.report.model: found for each, found in compared(loaded, codecs)}
    return Comparison(first=loaded[0].report.model, differences=rows)


def mine(model: Model, data: Any, *, output: str | Path, quiet: bool = False, **options: Any) -> Mined:
    """`tempembed mine`: hard negatives of pairs, in a Parquet file that `train` takes.

    Args:
        model: searches for them.
        data: training pairs.
        output: a new file.
        quiet: say nothing of the progress.
        options: flags of `tempembed mine`, such as num_negatives, ranks, relative_margin, cross_encoder.

    Raises:
        UserError: bad data, a model that is none, an output that is there, or nothing found.
    """
    options |= {"data": data, "output": str(output)}
    with _located(options, ("data",)), quietly(quiet):
        return mine_(Mine(**{**options, "model": os.fspath(model)}))


def search(
    model: Model,
    queries: str | Sequence[str],
    texts: Any = None,
    *,
    index: str | Path | None = None,
    top_k: int = 5,
    quiet: bool = False,
) -> Answers:
    """`tempembed search`: the best texts of each query.

    Args:
        model: a folder that `export` wrote, whose codec compresses the index; or any model, which searches in float32.
        queries: one or several.
        texts: a list of texts, or a file of them; may be left out with an index that is there.
        index: a folder that keeps the index; default: none is kept.
        top_k: answers to a query.
        quiet: say nothing of the progress.

    Raises:
        UserError: a model or index that cannot be, or an empty query.
    """
    asked = (queries,) if isinstance(queries, str) else tuple(queries)
    options = {} if texts is None else {"texts": _as_rows(texts)}
    with _located(options, ("texts",)), quietly(quiet), tempfile.TemporaryDirectory() as folder:
        place = Path(index) if index else Path(folder) / "index"
        sources = options.get("texts", (None,))
        if len(sources) > 1:
            raise UserError(
                f"texts: expected a list of texts, or one file of them, got {len(sources)} sources; put the texts into one"
            )
        found = find(Path(os.fspath(model)), asked, sources[0], place, top_k)
    return Answers(queries=asked, hits=found)


def encode(
    model: Model, documents: Any, *, output: str | Path, quiet: bool = False, **options: Any
) -> Encoded:
    """`tempembed encode`: a corpus in shards of (id, code, scale ...); the same call again goes on where it ended.

    Args:
        model: a folder that `export` wrote, which brings its codec, or any other model.
        documents: a list of texts, or data with a column of texts.
        output: a folder for the shards.
        quiet: say nothing of the progress.
        options: flags of `tempembed encode`, such as codec, id_column, processes.

    Raises:
        UserError: bad documents, a model or codec that cannot be, or a folder of another encode.
    """
    options |= {"data": _as_rows(documents), "output": str(output)}
    with _located(options, ("data",)), quietly(quiet):
        return encode_here(Encode(**{**options, "model": os.fspath(model)}))


def export(model: Model, *, output: str | Path, **options: Any) -> Path:
    """`tempembed export`: the model with its codec, a card and an example, as a folder.

    Args:
        model: the folder of a trained model.
        output: a new or empty folder.
        options: flags of `tempembed export`, such as codec and data.

    Raises:
        UserError: a model or codec that cannot be, or an output that is not empty.
    """
    with _located(options, ("data",)):
        export_command(Export(model=os.fspath(model), output=str(output), **options))
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


def _values(
    kind: type, config: str | Path | None, settings: dict[str, Any], data: dict[str, Any]
) -> dict[str, Any]:
    """The settings of a command: of a file, of arguments, which win over it, and of data that was given."""
    known = names(kind)
    if unknown := sorted(settings.keys() - known.keys()):
        raise TypeError(f"expected settings of {kind.__name__}Settings, got {unknown}")
    values = {} if config is None else read_config(Path(config), known)
    values |= settings
    values |= {name: os.fspath(value) for name, value in values.items() if isinstance(value, TrainedModel)}
    return values | {name: given for name, given in data.items() if given is not None}


@contextmanager
def _located(values: dict[str, Any], settings: Sequence[str]) -> Iterator[None]:
    """Put places where data of the program stands; messages of the block call them by their names."""
    called: dict[str, str] = {}
    for name in settings:
        value = values.get(name)
        if value is not None and not (isinstance(value, tuple) and not value):  # a frame has no truth
            found = places(value, name)
            called |= {place: own for place, own in found.items() if f"{place}:".partition(f"{own}:")[0]}
            values[name] = tuple(found)
    try:
        yield
    except UserError as error:
        text = str(error)
        for place, own in called.items():
            bare = place if Path(place).exists() else place.rpartition(":")[0]
            text = text.replace(bare, own)
        raise (error if text == str(error) else UserError(text)) from error.__cause__


def _as_rows(texts: Any) -> Any:
    """A list of texts as rows; names of files, and other data, as they are."""
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        return texts
    return texts if all(map(is_place, texts)) else [{"text": text} for text in texts]


def _evaluation(value: Any) -> Evaluation:
    """The evaluation of a result, a report's file or a run's folder."""
    if isinstance(value, CodecChoice | TrainedModel):
        value = value.report
    if isinstance(value, Results):
        return value.evaluation
    if value is None:
        raise UserError("compare: expected models that were measured, got one without test data; evaluate it")
    path = Path(os.fspath(value))
    return load_evaluation(path / REPORT if path.is_dir() else path)


def _new_folder(objective: str) -> Path:
    """A new folder in runs/, named by the objective and the time."""
    name = f"{file_name(objective)[:60]}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder
