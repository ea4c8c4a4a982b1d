"""A contrastive step of a small transformer, whole or sharded; a module of its own, for ranks import it anew."""

import numpy as np
import torch

from tempembed.encoders.layers import checkpoint_activations, freeze_layers, layers_of, transformers_of
from tempembed.encoders.load import load_encoder
from tempembed.encoders.lora import add_adapter
from tempembed.encoders.reached import reached
from tempembed.objectives.objective import Objective
from tempembed.objectives.term import Term
from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.sharding import ShardedTrunk, whole
from tempembed.stages.pair_data import PairBatch
from tempembed.stages.pair_step import PairStep

ROWS = 12
WORDS = ["open", "the", "matrix", "socket", "queue", "render", "sort", "image", "calendar", "parser"]
KINDS = {"all": {}, "frozen": {"frozen": 1}, "lora": {"lora": True}, "again": {"again": True}}


def made(base, *, frozen=None, lora=False, again=False, dtype=torch.float64):
    encoder = load_encoder(base)
    if lora:
        add_adapter(encoder, base, rank=2, seed=3)
        torch.manual_seed(4)
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    if frozen is not None:
        freeze_layers(encoder, frozen)
    if again:
        checkpoint_activations(encoder)
    used = reached(encoder([encoder.prepare(["a"], encoder.role("query"))]))
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter in used)
    return encoder.to(dtype).train()


def batch(encoder):
    """This rank's part: texts of unlike lengths, those of the first rank longest, so that it has most chunks."""
    rank, world_size = rank_and_world_size()
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, 3 + 3 * (ROWS - i) % 37)) for i in range(2 * ROWS)]
    local = ROWS // world_size
    mine = slice(rank * local, (rank + 1) * local)
    texts = texts[:ROWS][mine] + texts[ROWS:][mine]
    return PairBatch(
        inputs=[encoder.prepare(texts, encoder.role("document"))], present=np.ones((0, local), bool),
        has_negative_NB=None, ids=None,
    )  # fmt: skip


def step(base, *, sharded, cached, dtype=torch.float64, half=False, **kind):
    """Loss, gradients by name, and the number of chunks of this rank."""
    encoder = made(base, dtype=dtype, **kind)
    parameters = dict(encoder.named_parameters())
    trunk = encoder
    if sharded:
        trunk = ShardedTrunk(
            encoder, layers_of(transformers_of(encoder, "")[0]), torch.device("cpu"), bfloat16=half
        )
        parameters = dict(encoder.named_parameters())
    objective = Objective(terms=(Term(dim=16, temperature=0.05), Term(dim=32, temperature=0.1)))
    pair_step = PairStep(encoder, objective, micro_batch_tokens=60, gradient_cache=cached).to(dtype)
    own = batch(encoder)
    torch.manual_seed(7)
    output = pair_step(own, 0.0, trunk)
    output.loss.backward()
    gradients = {name: whole(p.grad) for name, p in parameters.items() if p.grad is not None}
    loss = output.loss.detach()
    if sharded:
        torch.distributed.all_reduce(loss)
    return (
        float(loss) / rank_and_world_size()[1],
        gradients,
        len(encoder.chunks(own.inputs[0], 60, split=cached)),
    )


def plain_and_cached(base, names=("all",)):
    """Of these kinds."""
    return {
        (name, cached): step(base, sharded=True, cached=cached, **KINDS[name])
        for name in names
        for cached in (False, True)
    }


def steps(base):
    """Of every kind, and in less precision."""
    return plain_and_cached(base, KINDS) | {
        ("float32", True): step(base, sharded=True, cached=True, dtype=torch.float32),
        ("bfloat16", True): step(base, sharded=True, cached=True, dtype=torch.float32, half=True),
    }


def memory(base):
    """Bytes of weights, and of AdamW's state, that this rank holds; and what a copy in one piece has."""
    encoder = made(base, dtype=torch.float32)
    trunk = ShardedTrunk(encoder, layers_of(transformers_of(encoder, "")[0]), torch.device("cpu"))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, fused=True)
    trunk([encoder.prepare(["open"], encoder.role("query"))]).sum().backward()
    optimizer.step()
    for module in trunk.modules():
        if hasattr(module, "reshard"):
            module.reshard()
    state = [t for each in optimizer.state.values() for t in each.values() if t.ndim]
    held = sum(p.to_local().nbytes for p in encoder.parameters()), sum(t.to_local().nbytes for t in state)
    names = list(encoder.state_dict())
    with trunk.in_one_piece(torch.device("cpu")):
        if rank_and_world_size()[0] == 0:
            copied = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
            assert list(copied) == names
            encoder.embed(encoder.prepare(["open"], encoder.role("query")))
        else:
            copied = {}
    assert list(encoder.state_dict()) == names
    trunk([encoder.prepare(["open"], encoder.role("query"))]).sum().backward()  # goes on as before
    return held, {name: type(t).__name__ for name, t in copied.items()}
