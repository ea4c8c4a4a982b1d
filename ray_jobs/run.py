"""One training run on Ray Train workers: what train.py and every trial of tune.py do."""

import math
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.train
from ray._private.state import available_resources_per_node
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ray_jobs.connect import temporary_folder
from ray_jobs.process_group import NodeTorchConfig
from tempembed.codecs.spec import ALIAS_BUDGETS
from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, count_steps
from tempembed.system.disk import full_disk, is_full
from tempembed.system.errors import InfrastructureError, SilentRankError, UserError
from tempembed.system.names import check_name

# Train polls its workers' reports so often; its default of 2 s would make every report cost 2 s (ray#56718).
REPORT_POLL_SECONDS = "0.2"
CONTROLLER_FAILURES = 2  # Ray's default is to retry for ever
COLLECTIVE_TIMEOUT_SECONDS = 300
STOP = "stop"
"""A file of this name in a run's folder asks its workers to stop at their next report, with a checkpoint."""
SAY_SECONDS, SHRUNK_SECONDS = 60.0, 180.0
START_TRIES = 10
"""How often a run may find room and lose it to another that is faster; each takes Ray Train three minutes."""
ERROR, LOST = "error.txt", "lost.txt"
"""In a trial's folder: why it failed, if it did so itself; why it could not go on, if that was no fault of its own."""
HEARTBEATS = ".ranks"
Result = TypeVar("Result")
TELL_SECONDS = 0.5
"""Between two reports that workers pass on. Ray Train takes one at each poll, and a worker that has another waits for the next."""
NOTES = "notes"
"""In a report: what a worker has to say to the person who started the run."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Of a process among those that share a run."""

    rank: int = 0
    world_size: int = 1
    on_machine: int = 1
    """Processes of the run on this machine."""


class Pace:
    """Which reports are passed on: the first, the last, one that stops, those of `always`, and of the others two a second.

    Alike on all ranks, for Ray's report is a barrier: it goes by the time that they agreed on.
    """

    def __init__(self, always: Collection[int] = ()) -> None:
        self._always, self._last = always, -math.inf

    def is_due(self, metrics: Mapping[str, Any]) -> bool:
        """Of a report of `train`."""
        seconds, step = metrics["train/seconds"], metrics["step"]
        always = step == metrics["num_steps"] or step in self._always or "stopping" in metrics
        if due := always or seconds - self._last >= TELL_SECONDS:
            self._last = seconds
        return due


class Work:
    """What a process does of a run: train with the others; then, on rank 0, measure.

    Rank 0 writes the model and `evaluation.json` into the output, and its reports to metrics.jsonl and the spool.
    """

    def __init__(self, config: dict[str, Any], place: Place) -> None:
        from tempembed.stages.prepare import Prepared

        self._config, self._place = config, place
        self.output = Path(config["output"])
        self._settings = TrainSettings.from_dict(config["settings"])
        if place.world_size < config["num_workers"]:  # all of the batch on fewer: in parts, so that it fits
            self._settings = changed(self._settings, gradient_cache=True)
        self._prepared = Prepared(folder=Path(config["prepared"]))
        self._test = self._prepared.evaluation() if place.rank == 0 else None
        self._began, self._last = time.monotonic(), dict[str, Any]()
        self._is_trained = False
        self._pace = Pace(config["probe_at"])

    def train(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Train to the end, or until the run is asked to stop; `tell` takes the reports that are due."""
        from tempembed.evaluation.probe import Probe
        from tempembed.stages.contrastive import train_pairs
        from tempembed.tracking.spool import Spool
        from tempembed.tracking.tracker import JsonlTracker

        config, test = self._config, self._test
        notes: list[str] = []
        is_first = self._place.rank == 0
        file = JsonlTracker(self.output / "metrics.jsonl") if is_first else None
        spool = Spool(Path(config["spool"])) if is_first else None

        def report(metrics: dict[str, Any]) -> None:
            self._last.update(metrics)
            if file and spool:  # on disk before the next checkpoint is: whoever is killed, no step is missing
                file.log(metrics)
                spool.log(config["run"], metrics)
            if self._pace.is_due(metrics):
                tell({**metrics, NOTES: list(notes)} if notes else metrics)
                notes.clear()

        self._is_trained = train_pairs(
            self._settings, self._prepared, self.output, report,
            resume=config["resume"],
            probe=Probe(test, config["budgets"]) if test and config["probe_at"] else None,
            probe_at=config["probe_at"],
            stop=(self.output / STOP).exists,
            say=notes.append,
            device=None if config["use_gpu"] else "cpu",  # Ray shows a process without a GPU all there are
        )  # fmt: skip

    def measure(self) -> None:
        """The model, if it is trained, on the test, if there is one."""
        import torch

        from tempembed.evaluation.trained import evaluate_trained
        from tempembed.system.memory import peak_bytes
        from tempembed.tracking.tracker import read_jsonl

        if self._test is None or not self._is_trained:
            return
        seconds = time.monotonic() - self._began
        if not self._last and (
            reports := read_jsonl(self.output / "metrics.jsonl")
        ):  # trained by an earlier process
            self._last = reports[-1]
            rate = self._last.get("train/pairs_per_second") or math.inf
            seconds = self._last["step"] * self._settings.batches.batch_size / rate
        cost = {
            "train_seconds": seconds,
            "pairs_per_second": self._last.get("train/pairs_per_second", 0.0),
            "peak_bytes": peak_bytes(),
        }
        # the other workers of this machine are done: their cores are free for the measurement
        torch.set_num_threads(max(torch.get_num_threads(), self._place.on_machine))
        moving = "train/temperature/"
        ended = {
            name.removeprefix(moving): value for name, value in self._last.items() if name.startswith(moving)
        }
        evaluate_trained(
            self.output, self._test, budgets=self._config["budgets"], cost=cost, temperatures=ended
        )


def worker(config: dict[str, Any]) -> None:
    """On each worker of Ray Train."""
    import torch

    from tempembed.parallel.heartbeat import Heartbeat, silent_ranks

    if torch.cuda.is_available() and config["use_gpu"]:
        torch.cuda.set_device(ray.train.torch.get_device())
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    work = Work(config, Place(rank=rank, world_size=world_size, on_machine=context.get_local_world_size()))
    ranks = work.output / HEARTBEATS
    with Heartbeat(ranks, rank):
        try:
            work.train(ray.train.report)
        except RuntimeError as error:
            if silent := silent_ranks(ranks, world_size, min(10.0, config["collective_timeout"] / 2)):
                raise SilentRankError(
                    f"expected all {world_size} workers to answer within {config['collective_timeout']} s, got nothing from "
                    f"{', '.join(silent)}; it was stopped, or its machine or network is gone"
                ) from error
            raise
    work.measure()


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """What a driver needs to know of prepared data."""

    folder: Path
    meta: dict[str, Any]
    """`Prepared.meta`."""
    kinds: tuple[str, ...]
    """What the test can measure: retrieval, and clustering if it has labels; without a test, nothing."""
    width: int
    """Of the encoder before training."""
    num_steps: int
    """Of a run."""
    facts: Facts
    """What the data and the encoder are, by content."""
    test: str
    """Fingerprint of the test; empty without one."""


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call it in a process of its own: a driver lives as long as the sweep, and would keep its gigabytes that long.

    Raises:
        InfrastructureError: that process died.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise InfrastructureError(
                f"{function.__name__.strip('_')}: expected its process to end well, it was killed, perhaps for its memory; give the "
                "same command again, on a machine with more"
            ) from error


def _end_with_parent() -> None:
    """A driver that was killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def prepare_in_subprocess(settings: TrainSettings) -> PreparedData:
    """`prepare`, apart.

    Raises:
        UserError: as `prepare`.
    """
    return apart(_prepare, settings)


def _prepare(settings: TrainSettings) -> PreparedData:
    from tempembed.evaluation.trained import KINDS
    from tempembed.stages.prepare import initial_encoder, prepare

    prepared = prepare(settings, lambda line: print(line, flush=True))
    test = prepared.evaluation()
    facts = Facts.of(prepared, settings, initial_encoder(settings, prepared))
    return PreparedData(
        folder=prepared.folder,
        meta=prepared.meta,
        kinds=tuple(task.kind for task in test[0].tasks(KINDS)) if test else (),
        width=facts.width,
        num_steps=count_steps(settings, facts),
        facts=facts,
        test=test[0].fingerprint if test else "",
    )


def save_codecs_in_subprocess(prepared: Path, output: Path, specs: dict[str, str]) -> None:
    """`save_codecs`, apart."""
    apart(_save_codecs, prepared, output, specs)


def _save_codecs(prepared: Path, output: Path, specs: dict[str, str]) -> None:
    from tempembed.evaluation.trained import save_codecs
    from tempembed.stages.prepare import Prepared

    test = Prepared(folder=prepared).evaluation()
    assert test is not None
    save_codecs(output, test, specs)


def _size(num_workers: int, cpus_per_worker: float, use_gpu: bool) -> dict[str, float]:
    """Ray's resources that a run holds."""
    return {"CPU": num_workers * cpus_per_worker, **({"GPU": num_workers} if use_gpu else {})}


def check_capacity(num_workers: int, cpus_per_worker: float, use_gpu: bool) -> int:
    """How many runs of this size the cluster holds at once.

    Raises:
        UserError: none, with the arithmetic. (Ray itself would wait for ever.)
    """
    nodes = _nodes()
    if (fits := _places(nodes, cpus_per_worker, use_gpu) // num_workers) == 0:
        raise UserError(
            f"expected a cluster that holds one run, got {_sums(nodes, num_workers, cpus_per_worker, use_gpu)}; lower "
            "--num-workers or --cpus-per-worker, or add nodes"
        )
    return fits


def await_room(num_workers: int, cpus_per_worker: float, use_gpu: bool, stop: Callable[[], object]) -> bool:
    """Wait until others have left room for a run of this size, and say so; false if it is to stop before that.

    Ray Train would give up after a minute.

    Raises:
        InfrastructureError: the cluster has shrunk, and the nodes do not come back.
    """
    size = cpus_per_worker, use_gpu
    said, enough = -math.inf, time.monotonic()
    while _places(free := list(available_resources_per_node().values()), *size) < num_workers:
        if stop():
            return False
        now, nodes = time.monotonic(), _nodes()
        is_held = _places(nodes, *size) >= num_workers
        enough = now if is_held else enough
        if now - enough > SHRUNK_SECONDS:
            raise InfrastructureError(
                f"expected the nodes to come back within {SHRUNK_SECONDS:.0f} s, got {_sums(nodes, num_workers, *size)}"
            )
        if now - said > SAY_SECONDS:
            said = now
            need = _size(num_workers, *size)
            sums = "; ".join(
                f"{name}: {of:g} needed, {sum(node.get(name, 0) for node in free):g} free"
                for name, of in need.items()
            )
            print(f"waiting for {'others to end' if is_held else 'nodes to come back'} ({sums})", flush=True)
        time.sleep(0.5)
    return not stop()


def _nodes() -> list[Mapping[str, float]]:
    """Resources of each live node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _places(nodes: Sequence[Mapping[str, float]], cpus_per_worker: float, use_gpu: bool) -> int:
    """Workers of this size that nodes with these resources hold: none stands on two of them."""
    worker = _size(1, cpus_per_worker, use_gpu)
    return sum(min(int(node.get(name, 0) / of + 1e-6) for name, of in worker.items()) for node in nodes)


def _sums(
    nodes: Sequence[Mapping[str, float]], num_workers: int, cpus_per_worker: float, use_gpu: bool
) -> str:
    """What a run needs, and what the nodes have."""
    return "; ".join(
        f"{name}: {num_workers} workers x {of:g} = {of * num_workers:g} needed, {sum(node.get(name, 0) for node in nodes):g} in the "
        f"cluster, at most {max((node.get(name, 0) for node in nodes), default=0):g} on a node"
        for name, of in _size(1, cpus_per_worker, use_gpu).items()
    )


def check_least(flags: Any, **least: int) -> None:
    """Raise UserError unless each of these flags is at least that."""
    for name, bound in least.items():
        if getattr(flags, name) < bound:
            raise UserError(f"--{name.replace('_', '-')}: expected >= {bound}, got {getattr(flags, name)}")


def check_cpus(cpus_per_worker: float) -> None:
    """A worker that takes no CPU of Ray's would run beside any number of others."""
    if not 0 < cpus_per_worker < math.inf:
        raise UserError(f"--cpus-per-worker: expected > 0, got {cpus_per_worker}")


def check_batch(settings: TrainSettings, num_workers: int) -> None:
    """The global batch must divide over the workers: said before anything starts."""
    if num_workers < 1 or settings.batches.batch_size % num_workers:
        raise UserError(
            f"--batch-size {settings.batches.batch_size}: expected a multiple of --num-workers {num_workers} (at least 1), "
            "so that each worker takes the same number of rows"
        )


def fit(
    settings: TrainSettings,
    *,
    prepared: Path,
    output: Path,
    spool: Path,
    run: str = "",
    num_workers: int,
    cpus_per_worker: float = 1,
    use_gpu: bool = False,
    resume: bool = False,
    min_workers: int | None = None,
    resize_seconds: int = 60,
    max_failures: int = 0,
    collective_timeout: int = COLLECTIVE_TIMEOUT_SECONDS,
    budgets: Sequence[int] = ALIAS_BUDGETS,
    probe_at: Sequence[int] = (),
    callbacks: Sequence[Any] = (),
) -> None:
    """Run it to the end, or until it is asked to stop; first wait for room.

    Rank 0 writes its reports to `output`/metrics.jsonl and, as the run of that name, to the spool.
    Our own checkpoints in `output` are what a restarted worker goes on from; Ray is given none.

    Raises:
        InfrastructureError: workers died, fell silent, found the disk full, or could not be started; their checkpoints are there.
        UserError: what else went wrong on a worker, as one line.
    """
    check_name(output.name, "run")
    storage = output.parent / ".ray"
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", REPORT_POLL_SECONDS)
    os.environ.setdefault(
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0"
    )  # a process that watches for what we do not use
    config = _config(
        settings, prepared, output, spool, run,
        resume=resume or max_failures != 0, use_gpu=use_gpu, num_workers=num_workers, collective_timeout=collective_timeout,
        budgets=list(budgets), probe_at=list(probe_at),
    )  # fmt: skip
    scaling = ScalingConfig(
        num_workers=num_workers if min_workers in (None, num_workers) else (min_workers, num_workers),  # type: ignore[arg-type]
        elastic_resize_monitor_interval_s=resize_seconds,  # type: ignore[call-arg]
        use_gpu=use_gpu,
        resources_per_worker={"CPU": cpus_per_worker},
    )
    run_config = RunConfig(
        name=output.name,
        storage_path=str(storage),
        failure_config=FailureConfig(  # mypy reads the V1 class
            max_failures=max_failures,
            controller_failure_limit=CONTROLLER_FAILURES,  # type: ignore[call-arg]
        ),
        callbacks=list(callbacks),
    )
    torch_config = NodeTorchConfig(timeout_s=collective_timeout)
    size = num_workers if min_workers is None else min_workers, cpus_per_worker, use_gpu
    written = (output, storage, temporary_folder())
    for tries_left in reversed(range(START_TRIES)):
        if not await_room(*size, (output / STOP).exists):
            return
        shutil.rmtree(storage / output.name, ignore_errors=True)  # what Ray keeps of an attempt is not needed
        trainer = TorchTrainer(
            worker,
            train_loop_config=config,
            torch_config=torch_config,
            scaling_config=scaling,
            run_config=run_config,
        )
        try:
            _wait_for(trainer)
            return
        except ray.train.TrainingFailedError as error:
            # another one was faster: there is room for both, one after the other
            if _had_no_room(error) and tries_left and _places(_nodes(), *size[1:]) >= size[0]:
                continue
            if not _says_why(error) and (full := full_disk(InfrastructureError(reason(error)), written)):
                raise full from error
            raise (InfrastructureError if is_lost(error) else UserError)(reason(error)) from error
        except ray.exceptions.RayActorError as error:
            lost = InfrastructureError(
                f"Ray Train's controller died ({type(error).__name__}); the dashboard has its log"
            )
            raise full_disk(lost, written) or lost from error
        except Exception as error:  # of what Train reads and writes of its own
            if full := full_disk(error, written):
                raise full from error
            raise


def _wait_for(trainer: TorchTrainer) -> None:
    """Awake for signals: Train would take SIGINT from its caller, and MLflow has SIGINT restart what it interrupts."""
    if threading.current_thread() is not threading.main_thread():
        trainer.fit()
        return
    with ThreadPoolExecutor(1) as beside:
        training = beside.submit(trainer.fit)
        while not wait([training], timeout=0.2).done:
            pass
        training.result()


def fit_here(
    settings: TrainSettings,
    *,
    prepared: Path,
    output: Path,
    spool: Path,
    run: str = "",
    resume: bool = False,
    budgets: Sequence[int] = ALIAS_BUDGETS,
    probe_at: Sequence[int] = (),
    use_gpu: bool = False,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """`fit` in this process, with no other: nothing has to start for it. `tell` takes the reports.

    Raises:
        InfrastructureError: the disk is full.
        UserError: what went wrong; its cause is the error itself.
    """
    from tempembed.system.memory import forget_peak

    check_name(output.name, "run")
    forget_peak()  # of an earlier run in this process
    config = _config(
        settings, prepared, output, spool, run,
        resume=resume, num_workers=1, use_gpu=use_gpu, budgets=list(budgets), probe_at=list(probe_at),
    )  # fmt: skip
    try:
        work = Work(config, Place())
        work.train(tell)
        work.measure()
    except Exception as error:
        if full := full_disk(error, (output, temporary_folder())):
            raise full from error
        kind = InfrastructureError if isinstance(error, InfrastructureError) or is_full(error) else UserError
        raise kind(f"{type(error).__name__}: {str(error).strip()}") from error


def _config(
    settings: TrainSettings, prepared: Path, output: Path, spool: Path, run: str, **others: Any
) -> dict[str, Any]:
    """What `Work` reads."""
    places = {"prepared": str(prepared), "output": str(output), "spool": str(spool)}
    return {"settings": settings.to_dict(), "run": run, **places, **others}


def is_lost(error: ray.train.TrainingFailedError) -> bool:
    """Whether workers are gone or had no room on the disk, as opposed to an error that is the run's own."""
    failures = getattr(error, "worker_failures", None)
    if failures is None:  # the controller's: no start in time, a node that is taken away
        return True
    causes = [_cause(failure) for failure in failures.values()]
    return any(
        _is_loss(cause) or isinstance(cause, InfrastructureError) or is_full(cause) for cause in causes
    )


def _says_why(error: ray.train.TrainingFailedError) -> bool:
    """Whether a worker ended with an error of ours that names its cause."""
    causes = map(_cause, (getattr(error, "worker_failures", None) or {}).values())
    return any(isinstance(cause, UserError | SilentRankError) for cause in causes)


def _had_no_room(error: ray.train.TrainingFailedError) -> bool:
    """Whether Ray Train gave up waiting for its workers' places."""
    return type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError"


def _cause(failure: Exception) -> Exception:
    return getattr(failure, "_base_exc", failure)


def _is_loss(cause: Exception) -> bool:
    """Said by Ray of a worker that cannot say anything, or by a worker of one that does not answer."""
    return isinstance(cause, SilentRankError) or type(cause).__module__.partition(".")[0] == "ray"


def reason(error: Exception) -> str:
    """The first worker's own error as one line, without the stack of who passed it on."""
    if failures := getattr(error, "worker_failures", None):
        return first_of(failures)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"


def first_of(failures: Mapping[int, Exception]) -> str:
    """The error of the first rank that has one; what explains the others' comes first: who is silent, then who is gone."""

    def order(failure: tuple[int, Exception]) -> tuple[int, int]:
        cause = _cause(failure[1])
        return 0 if isinstance(cause, SilentRankError) else 1 if _is_loss(cause) else 2, failure[0]

    rank, error = min(failures.items(), key=order)
    cause = _cause(error)
    if _is_loss(cause) and not isinstance(cause, SilentRankError):  # Ray's text is a page
        return f"worker {rank}: {type(cause).__name__}: its process died, or does not answer Ray; the dashboard has its log"
    return f"worker {rank}: {type(cause).__name__}: {str(cause).strip()}"
