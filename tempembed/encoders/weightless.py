"""An encoder that only prepares rows: what another process needs of it, without the weights."""

import copy

from torch import nn

from tempembed.encoders.encoder import Encoder


def weightless(encoder: Encoder) -> Encoder:
    """A copy whose weights and buffers have shapes and no memory; its `prepare` makes what the encoder's does."""
    tensors = {id(each): each.detach().to("meta") for each in encoder.buffers()}
    tensors |= {
        id(each): nn.Parameter(each.detach().to("meta"), each.requires_grad) for each in encoder.parameters()
    }
    return copy.deepcopy(encoder, tensors)
