"""What the dashboards show: one table, from which `build.py` makes Grafana's JSON and Prometheus' own pages."""

from dataclasses import dataclass

RUN = '{sweep=~"$sweep",run=~"$run"}'
SWEEP = '{sweep=~"$sweep"}'


def of_run(metric: str, *by: str) -> str:
    """A query for a metric of a run, without the labels of its process (WorkerId, SessionName ...)."""
    return f"max by ({', '.join(('sweep', 'run', *by))}) (ray_tempembed_{metric}{RUN})"


def lately(metric: str, *by: str) -> str:
    """A query for what a run reported at its end, also after its process is gone."""
    return (
        f"max by ({', '.join(('sweep', 'run', *by))}) (last_over_time(ray_tempembed_{metric}{RUN}[$__range]))"
    )


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """(PromQL, legend); `{{label}}` in a legend is the label's value."""
    about: str
    unit: str = "short"
    """Grafana's id of a unit."""
    kind: str = "timeseries"
    """timeseries, or bargauge for the newest values."""
    stacked: bool = False
    needs: str = ""
    """What a cluster must have for the panel to have data."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    panels: tuple[Panel, ...]


TRAINING = Board(
    uid="tempembed-training",
    title="tempembed: training",
    panels=(
        Panel(
            title="Loss",
            queries=((of_run("loss"), "{{sweep}} {{run}}"),),
            about="The objective: the weighted sum of its terms, in nats, mean over the ranks.",
        ),
        Panel(
            title="Loss of each term",
            queries=((of_run("term_loss", "term"), "{{run}} {{term}}"),),
            about="InfoNCE on a prefix at a temperature, unweighted, in nats.",
        ),
        Panel(
            title="Temperature of each term",
            queries=((of_run("temperature", "term"), "{{run}} {{term}}"),),
            about="Scheduled and learned ones move.",
        ),
        Panel(
            title="Intrinsic dimension",
            queries=(
                (of_run("intrinsic_dimension"), "{{run}} training"),
                (lately("measured_intrinsic_dimension"), "{{run}} test"),
            ),
            about="PCA-95: of the training documents of the last window, and of the test documents at the end.",
        ),
        Panel(
            title="Retention at the byte budgets",
            queries=((lately("retention", "bytes"), "{{run}} {{bytes}} bytes"),),
            about="Share of the full score that the best codec within so many bytes a document keeps; at the end of a run.",
            unit="percentunit",
            kind="bargauge",
        ),
        Panel(
            title="nDCG@10 at the byte budgets",
            queries=((lately("score", "bytes"), "{{run}} {{bytes}} bytes"),),
            about="Of the best codec within so many bytes a document; at the end of a run.",
            kind="bargauge",
        ),
        Panel(
            title="Pairs per second",
            queries=((of_run("pairs_per_second"), "{{sweep}} {{run}}"),),
            about="Over all workers, mean since the start or the last restart.",
        ),
        Panel(
            title="Documents encoded per second",
            queries=((of_run("documents_per_second"), "{{run}}"),),
            about="By an encode, over all its processes, mean since the start or the last restart.",
        ),
        Panel(
            title="Step time",
            queries=((f"avg by (phase) (ray_tempembed_phase_seconds{RUN})", "{{phase}}"),),
            about="Seconds a step by phase, mean over the chosen runs, on rank 0's host clock. gather is the wait for rows of "
            "other ranks; backward holds their gradients' reduction. On a GPU the host only queues work: the phase in which "
            "it waits for a value holds the kernels' time.",
            unit="s",
            stacked=True,
        ),
        Panel(
            title="Progress",
            queries=((f"{of_run('step')} / {of_run('steps')}", "{{sweep}} {{run}}"),),
            about="Share of a run's steps that are done.",
            unit="percentunit",
        ),
        Panel(
            title="Gradient norm",
            queries=((of_run("gradient_norm"), "{{sweep}} {{run}}"),),
            about="Before clipping.",
        ),
    ),
)

OPERATION = Board(
    uid="tempembed-operation",
    title="tempembed: operation",
    panels=(
        Panel(
            title="Trials",
            queries=((f"max by (sweep, status) (ray_tempembed_trials{SWEEP})", "{{sweep}} {{status}}"),),
            about="Of a sweep, by what became of them.",
            stacked=True,
        ),
        Panel(
            title="Restarts",
            queries=((f"sum by (sweep, run) (ray_tempembed_restarts_total{RUN})", "{{sweep}} {{run}}"),),
            about="Times that a run went on after an error, since its node started.",
        ),
        Panel(
            title="Errors of workers",
            queries=(
                (
                    f"sum by (sweep, run, error) (ray_tempembed_worker_errors_total{RUN})",
                    "{{run}} {{error}}",
                ),
            ),
            about="By type; NonFiniteLossError is a NaN.",
        ),
        Panel(
            title="Spool",
            queries=(
                (f"max by (sweep, run) (ray_tempembed_spool_depth{SWEEP})", "{{sweep}} {{run}}"),
            ),
            about="Records that wait on disk to reach MLflow; grows while MLflow is away.",
        ),
        Panel(
            title="Since the last report",
            queries=((f"time() - {of_run('report_time')}", "{{sweep}} {{run}}"),),
            about="Seconds.",
            unit="s",
        ),
        Panel(
            title="CPU",
            queries=(("max by (instance) (ray_node_cpu_utilization)", "{{instance}}"),),
            about="Of each node, in percent.",
            unit="percent",
        ),
        Panel(
            title="Memory",
            queries=(
                ("max by (instance) (ray_node_mem_used / ray_node_mem_total)", "{{instance}}"),
            ),
            about="Of each node. Ray kills workers at 95 %.",
            unit="percentunit",
        ),
        Panel(
            title="Disk",
            queries=(
                ("max by (instance) (ray_node_disk_utilization_percentage)", "{{instance}}"),
            ),
            about="Of each node, in percent.",
            unit="percent",
        ),
        Panel(
            title="GPU",
            queries=(
                ("max by (instance, GpuIndex) (ray_node_gpus_utilization)", "{{instance}} {{GpuIndex}}"),
            ),
            about="Of each GPU, in percent.",
            unit="percent",
            needs="a GPU",
        ),
        Panel(
            title="GPU memory",
            queries=(
                (
                    "max by (instance, GpuIndex) (ray_node_gram_used / (ray_node_gram_used + ray_node_gram_available))",
                    "{{instance}} {{GpuIndex}}",
                ),
            ),
            about="Of each GPU.",
            unit="percentunit",
            needs="a GPU",
        ),
        Panel(
            title="Metrics ports",
            queries=(("sum by (job) (up)", "{{job}} up"), ("count by (job) (up)", "{{job}}")),
            about="That Prometheus reaches, and that it knows.",
        ),
        Panel(
            title="Alerts",
            queries=(('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),),
            about="That fire.",
        ),
    ),
)  # fmt: skip
BOARDS = (TRAINING, OPERATION)
