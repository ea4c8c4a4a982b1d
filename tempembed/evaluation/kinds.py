"""The kinds of tasks that tempembed has. Importing this registers them; others register theirs with `task.register`."""

from tempembed.evaluation.classification import Classification
from tempembed.evaluation.clustering import Clustering
from tempembed.evaluation.pairs import STS, PairClassification
from tempembed.evaluation.reranking import Reranking
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.summarization import Summarization
from tempembed.evaluation.task import KINDS, register

# in the order in which they are measured and shown
for _kind in (Retrieval, Clustering, Reranking, PairClassification, STS, Classification, Summarization):
    register(_kind)

__all__ = ["KINDS", "register"]
