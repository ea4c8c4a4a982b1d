"""`tempembed plan`."""

import dataclasses
from dataclasses import dataclass

from tempembed.objectives.term import Direction
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Predict what a training step would cost, on this machine, in four ways, and recommend one; or what a corpus costs.

    dense keeps every logit; local compares with the worker's own batch only (another objective: fewer negatives);
    tiled is what `tempembed train` does; cached adds --gradient-cache. Small pieces of each are measured and scaled up.

    Example: tempembed plan --encoder transformer --width 384 --layers 6 --batch-size 4096 --num-workers 2 --check

    A corpus: tempembed plan --documents 1e9 --encoder all-MiniLM-L6-v2 --codec binary --engine pgvector --price 0.04

    measures the model and a search here at two sizes, checks a third, and says memory, disk, hours, money, and what breaks first.
    """

    encoder: str = "static"
    """static, transformer, or a local path or hub name."""
    width: int | None = None
    """Embedding width of static (default 1024) and transformer (default 384)."""
    layers: int = 4
    """Layers of the transformer."""
    vocabulary: int = 8192
    """Tokens of static and transformer."""
    tokens: int = 128
    """Of an average text."""
    batch_size: int = 8192
    """Global batch, in pairs."""
    num_workers: int = 1
    """Workers, all on machines like this one."""
    hard_negatives: int = 0
    """Per query."""
    objective: str = "tempaggmrl"
    """As in tempembed train."""
    terms: tuple[str, ...] = ()
    """As in tempembed train."""
    direction: Direction = "query-to-document"
    """As in tempembed train."""
    micro_batch_tokens: int = 0
    """As in tempembed train."""
    memory_gb: float | None = None
    """A worker's memory; default: what is free here, shared by the workers."""
    network_gb_per_second: float = 1.0
    """Between workers."""
    documents: float | None = None
    """Documents of a corpus, such as 1e9: plan its encode and its search, in place of a training step."""
    codec: str = "binary"
    """With --documents: the codec, as in tempembed encode."""
    engine: str | None = None
    """With --documents: refuse a codec that this engine cannot hold, and say what is to be known of it."""
    data: str = "installed-code"
    """With --documents: a file of documents like those of the corpus, or installed-code."""
    cores: int = 0
    """With --documents: cores that will work; default: those of this machine."""
    price: float | None = None
    """With --documents: of a core hour."""
    check: bool = False
    """Run each that fits, once, with its workers as processes on this machine, and print how far the prediction is off."""


def plan_command(command: Plan) -> None:
    """`tempembed plan`."""
    if command.documents is not None:
        _corpus(command)
        return
    from tempembed.diagnostics.plan import available_bytes, check_step, predict, recommend, state_bytes
    from tempembed.diagnostics.request import Request

    if command.memory_gb is not None and not 0 < command.memory_gb < 1e9:
        raise UserError(f"--memory-gb: expected > 0 and finite, got {command.memory_gb}")
    names = {field.name for field in dataclasses.fields(Request)}
    request = Request(**{name: getattr(command, name) for name in names})
    available = round(command.memory_gb * 1e9) if command.memory_gb else available_bytes(command.num_workers)
    found = predict(request)
    best = recommend(found, available)
    print(f"memory of a worker: {available / 1e9:.2f} GB")
    print(f"{'':2}{'strategy':<10}{'negatives':>10}{'memory':>12}{'step':>12}  ")
    for cost in found:
        notes = ["another objective"] * (not cost.exact) + ["does not fit"] * (cost.bytes > available)
        if command.check and cost.bytes <= available and cost.strategy != "local":
            seconds, peak = check_step(request, cost.strategy)
            notes.append(
                f"measured {peak / 1e9:.2f} GB ({cost.bytes / peak - 1:+.0%}), {seconds:.2f} s ({cost.seconds / seconds - 1:+.0%})"
            )
        mark = "*" if cost is best else " "
        print(
            f"{mark:2}{cost.strategy:<10}{cost.num_negatives:>10,}{cost.bytes / 1e9:>9.2f} GB{cost.seconds:>10.2f} s"
            f"  {'; '.join(notes)}",
            flush=True,
        )
    if command.num_workers > 1:
        num = sum(p.numel() for p in request.model().parameters())
        whole, part = (state_bytes(num, num_workers=workers) / 1e9 for workers in (1, command.num_workers))
        print(f"  of which weights, gradients and AdamW's state: {whole:.2f} GB; with --shard {part:.2f} GB")
    if best is None:
        raise UserError(
            f"expected a way that fits {available / 1e9:.2f} GB, the least is {min(c.bytes for c in found) / 1e9:.2f} GB: "
            "lower --batch-size or --micro-batch-tokens, or take more workers"
        )
    flag = {"cached": "add --gradient-cache", "tiled": "the default of tempembed train"}
    print(
        f"* the fastest that fits and trains this objective: {best.strategy} ({flag.get(best.strategy, 'tiny batch')})"
    )


def _corpus(command: Plan) -> None:
    """What so many documents cost."""
    from itertools import islice
    from pathlib import Path

    from tempembed.codecs.spec import parse_spec
    from tempembed.data.texts import open_texts
    from tempembed.diagnostics.corpus_plan import plan_corpus
    from tempembed.encoders.load import load_encoder
    from tempembed.engines.builtin import find_engine
    from tempembed.system.console import say
    from tempembed.system.in_order import num_cpus

    if not 1 <= (num := float(command.documents or 0)) < 1e15:
        raise UserError(f"--documents: expected 1 to 1e15, got {command.documents}")
    if command.cores < 0 or (command.price is not None and not 0 <= command.price < 1e9):
        raise UserError("--cores, --price: expected numbers that are not negative")
    if command.encoder in ("static", "transformer"):
        raise UserError(
            "--documents: expected a model that is there with --encoder, a folder or a hub name; name it"
        )
    encoder = load_encoder(command.encoder)
    spec = parse_spec(command.codec, encoder.width)
    engine = find_engine(command.engine) if command.engine else None
    if engine and not engine.holds(spec):
        raise UserError(
            f"--engine {engine.name}: expected a codec that it holds ({', '.join(engine.storages)}, without re-ranking), got {spec}"
        )
    texts = [text for chunk in islice(open_texts(command.data, say).chunks(), 1) for text in chunk]
    say(f"measuring {command.encoder} on one core")
    found = plan_corpus(
        num, spec, encoder, texts, shard_rows=16_384, cores=command.cores or num_cpus(), place=Path.cwd()
    )
    print(found.text(command.price))
    if engine:
        print(
            f"{'engine':<14}{engine.title}: bytes of the vectors alone, an index's graph and row headers come on top. {engine.note}"
        )
