"""What `tempembed evaluate` and `tempembed codecs` share: a model, and what is measured of it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tempembed.encoders.role import Prompts, RoleName, asked
from tempembed.settings.config import Configured
from tempembed.settings.data import several
from tempembed.settings.flat import ONE_AS_ITSELF, flag
from tempembed.system.cache import INSTALLED_CODE
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.names import file_name
from tempembed.system.untrusted import check_place, is_file, is_folder, read_json

if TYPE_CHECKING:
    from tempembed.evaluation.store import EmbeddingStore
    from tempembed.evaluation.task import Task


@dataclass(frozen=True, kw_only=True)
class Measure(Configured):
    """Settings of a measurement: the model, the data, and where embeddings are kept."""

    model: Annotated[str, tyro.conf.Positional]
    """A sentence-transformers or transformers model: a local folder or a hub name."""
    data: tuple[str, ...] = field(default=(INSTALLED_CODE,), metadata=ONE_AS_ITSELF)
    """Test pairs: a Parquet, JSON Lines or CSV file, a folder, a datasets hub name, or installed-code. Measured are retrieval
    and, with labels, clustering, reranking and pair classification with hard negatives of the same label; of several sources each
    has a score too."""
    tasks: tuple[str, ...] = ()
    """Instead of --data: mteb tasks or benchmarks by name, such as NFCorpus "MTEB(eng, v1)"; needs their data."""
    task_folder: str | None = None
    """Instead of --data: a folder of local files in mteb's layout, or a folder of such folders."""
    max_queries: int | None = None
    """With --data: a random choice of so many queries (installed-code: 5,000)."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """Pooling of a plain transformers model, which has none; default mean."""
    query_prompt: str | None = None
    """Put before each query; default: the model's own, as encode_query has it."""
    document_prompt: str | None = None
    """Put before each document; default: the model's own, as encode_document has it."""
    max_tokens: int | None = None
    """Cut texts after so many tokens, prompt included; default: the model's own limit."""
    max_query_tokens: int | None = None
    """The same for queries only; default --max-tokens."""
    max_document_tokens: int | None = None
    """The same for documents only; default --max-tokens."""
    skip_bad_rows: bool = False
    """Leave bad rows of --data or --task-folder out and count them, instead of stopping at the first."""
    min_score: float | None = None
    """With --data that has a column of scores: rows from this score on are pairs."""
    cache: str | None = None
    """Folder for embeddings, so that a text is encoded once per model; default: embeddings/ in tempembed's cache."""
    quiet: bool = False
    """Say nothing of the progress."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", several(self.data))
        for name in ("max_queries", "max_tokens", "max_query_tokens", "max_document_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{flag(name)}: expected >= 1, got {value}")
        if self.cache is not None:
            check_place(Path(self.cache), "--cache")

    @property
    def prompts(self) -> dict[RoleName, str]:
        """Prompts that are asked for, by role."""
        return asked(self.query_prompt, self.document_prompt)

    @property
    def limits(self) -> dict[RoleName, int]:
        """Token limits by role, if not the model's own."""
        return asked(self.max_query_tokens or self.max_tokens, self.max_document_tokens or self.max_tokens)


@dataclass(frozen=True)
class Subject:
    """A model and what is measured of it."""

    tasks: "list[Task]"
    labels: Sequence[str | None]
    store: "EmbeddingStore"
    full_precision: Callable[[Path], dict[str, float]]
    """mteb's own scores, with its result files in a folder."""


def check_new(flag: str, output: Path, files: Sequence[Path], data: Sequence[str]) -> None:
    """Refuse to write over the data, or over what is no report of ours.

    Raises:
        UserError: names the file.
    """
    for file in files:
        if os.path.realpath(file) in map(os.path.realpath, data):
            raise UserError(
                f"{flag} {output}: expected another place than the data's, {file} would be written over"
            )
        if is_folder(file):
            raise UserError(
                f"{flag} {output}: expected the name of a file, {file} is a folder; choose another"
            )
    there = [file for file in files if is_file(file)]
    if there and not is_report(output):
        raise UserError(
            f"{flag} {output}: expected a new file or a report of ours to replace, found {there[0]}; choose another name"
        )


def is_report(path: Path) -> bool:
    """Whether a report of ours is there."""
    try:
        found = read_json(path)
    except UserError:
        return False
    return isinstance(found, dict) and {"scores", "data", "geometry"} <= found.keys()


def subject(command: Measure) -> Subject:
    """Load the model, and the tasks with their texts.

    Raises:
        UserError: no such model, no task whose data can be had, or flags that exclude each other.
    """
    from tempembed.encoders.load import load_encoder
    from tempembed.evaluation.store import EmbeddingStore
    from tempembed.system.cache import cache_dir

    if command.tasks and command.task_folder:
        raise UserError("expected --tasks or --task-folder, got both")
    encoder = load_encoder(
        command.model, prompts=command.prompts, limits=command.limits, pooling=command.pooling
    )
    for line in encoder.introduction():
        say(line)
    store = EmbeddingStore(Path(command.cache or cache_dir() / "embeddings"), encoder, say)
    if command.tasks or command.task_folder:
        tasks, labels, (theirs, prompts) = _mtebs(command, encoder.prompts)
    else:
        tasks, labels, (theirs, prompts) = _of_data(command, encoder.prompts)

    def full_precision(folder: Path) -> dict[str, float]:
        from tempembed.evaluation.mteb_results import mteb_scores

        say("mteb's own evaluation at full precision")
        name = file_name(Path(command.model).name)
        return mteb_scores(theirs, store, name=name, prompts=prompts, output=folder)

    return Subject(tasks, labels, store, full_precision)


Chosen = tuple["list[Task]", Sequence[str | None], "tuple[Sequence[Any], Prompts]"]
"""Tasks, labels of the first one's documents, and the same as mteb's tasks with the prompts that mteb takes."""


def _of_data(command: Measure, prompts: Prompts) -> Chosen:
    """The tasks on the test pairs of --data."""
    from tempembed.evaluation.mteb_local import corpus_tasks
    from tempembed.stages.prepare import evaluation_task

    corpus = evaluation_task(
        command.data,
        max_queries=command.max_queries,
        skip_bad_rows=command.skip_bad_rows,
        min_score=command.min_score,
        flag="--data",
        say=say,
    )
    by_role = prompts.by_role
    # mteb knows no roles in pair classification
    alike = by_role.of_role("query") == by_role.of_role("document")
    theirs = [t for t in corpus_tasks(corpus) if alike or t.metadata.type != "PairClassification"]
    return corpus.tasks(), corpus.labels, (theirs, by_role)


def _mtebs(command: Measure, prompts: Prompts) -> Chosen:
    """The tasks of --tasks or --task-folder."""
    from tempembed.evaluation.folder import read_folder
    from tempembed.evaluation.mteb_local import folder_task
    from tempembed.evaluation.mteb_tasks import named_tasks, to_ours

    if command.task_folder:
        found = read_folder(Path(command.task_folder), skip_bad_rows=command.skip_bad_rows, say=say)
        theirs = [folder_task(task) for task in found]
    else:
        theirs = named_tasks(command.tasks)
    tasks: list[Task] = []
    had = []
    for task in theirs:
        try:
            tasks += to_ours(task, prompts)
            had.append(task)
        except UserError as error:
            if len(theirs) == 1:
                raise
            say(f"left out: {error}")  # a benchmark goes on without the tasks whose data cannot be had
    if not tasks:
        raise UserError("expected at least one task whose data can be had, got none of those above")
    return tasks, (), (had, prompts)
