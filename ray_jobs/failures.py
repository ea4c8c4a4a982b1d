"""What a failure of Ray Train was: the infrastructure's, or the run's own; and how to say it in a line."""

from collections.abc import Mapping

import ray.train

from tempembed.system.disk import is_full
from tempembed.system.errors import InfrastructureError, SilentRankError, UserError


def as_our_error(error: ray.train.TrainingFailedError) -> UserError:
    """InfrastructureError if workers are gone or had no room on the disk, UserError if the error is the run's own."""
    return (InfrastructureError if _is_infrastructure(error) else UserError)(describe(error))


def names_its_cause(error: ray.train.TrainingFailedError) -> bool:
    """Whether a worker ended with an error of ours that says what was wrong."""
    return any(isinstance(cause, UserError | SilentRankError) for cause in _causes(error))


def found_no_room(error: ray.train.TrainingFailedError) -> bool:
    """Whether Ray Train gave up waiting for its workers' places: another job took the free CPUs first."""
    return type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError"


def describe(error: Exception) -> str:
    """The first worker's own error as one line, without the stack of who passed it on."""
    if failures := getattr(error, "worker_failures", None):
        return describe_first(failures)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"


def describe_first(failures: Mapping[int, Exception]) -> str:
    """The failure that explains the others, by rank: a silent worker comes first, then one that is gone, then the lowest rank."""

    def order(failure: tuple[int, Exception]) -> tuple[int, int]:
        cause = _cause(failure[1])
        return 0 if isinstance(cause, SilentRankError) else 1 if _is_gone(cause) else 2, failure[0]

    rank, error = min(failures.items(), key=order)
    cause = _cause(error)
    if _is_gone(cause) and not isinstance(cause, SilentRankError):  # Ray's text is a page
        return f"worker {rank}: {type(cause).__name__}: its process died, or does not answer Ray; the dashboard has its log"
    return f"worker {rank}: {type(cause).__name__}: {str(cause).strip()}"


def _is_infrastructure(error: ray.train.TrainingFailedError) -> bool:
    if (
        getattr(error, "worker_failures", None) is None
    ):  # the controller's: no start in time, a node that is gone
        return True
    return any(
        _is_gone(cause) or isinstance(cause, InfrastructureError) or is_full(cause)
        for cause in _causes(error)
    )


def _causes(error: ray.train.TrainingFailedError) -> list[Exception]:
    return [_cause(failure) for failure in (getattr(error, "worker_failures", None) or {}).values()]


def _cause(failure: Exception) -> Exception:
    """The error that was raised on the worker."""
    return getattr(failure, "_base_exc", failure)


def _is_gone(cause: Exception) -> bool:
    """Whether Ray says it of a worker that cannot speak, or a worker of one that does not answer."""
    return isinstance(cause, SilentRankError) or type(cause).__module__.partition(".")[0] == "ray"
