"""The kinds of tasks that tempembed has. Importing this registers them; others register theirs with `task.register`."""

from tempembed.evaluation.classification import Classification
from tempembed.evaluation.clustering import Clustering
from tempembed.evaluation.pairs import STS, PairClassification
from tempembed.evaluation.reranking import Reranking
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.summarization import Summarization
from tempembed.evaluation.task import KINDS, Task, register
from tempembed.system.plugins import load_plugins

# in the order in which they are measured and shown
for _kind in (Retrieval, Clustering, Reranking, PairClassification, STS, Classification, Summarization):
    register(_kind)


def task_kinds() -> dict[str, type[Task]]:
    """All by name, with those of plugins."""
    load_plugins()
    return KINDS
