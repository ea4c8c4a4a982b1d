"""A small convolution tower for pictures, from scratch: it trains in a minute on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempembed.encoders.image import ImageEncoder
from tempembed.inputs.pictures import Fit

STEM, CHANNELS, MOST_CHANNELS = 5, 32, 128
"""Side of the first convolution; channels that it makes, of which each following one has twice as many; and of the last."""
LAST_SIDE = 4
"""Pixels of a side after the last stage."""
SIDES = (32, 64, 128)


class ConvolutionEncoder(ImageEncoder):
    """Convolutions, the first of 5 x 5 and the others of 3 x 3, that halve the sides until 4 are left, and one linear layer on all of that.

    The layers have no statistics of a batch, so an embedding depends on its picture alone: gradient caching and any number of
    ranks give the same.

    Args:
        side: of the pictures, one of `SIDES`.
        width: of the embeddings.
    """

    def __init__(self, *, side: int, width: int) -> None:
        super().__init__(Fit(side=side))
        layers: list[nn.Module] = []
        before, channels, kernel = 3, CHANNELS, STEM
        while side > LAST_SIDE:
            layers += [nn.Conv2d(before, channels, kernel, 2, kernel // 2), nn.ReLU(inplace=True)]
            before, side, channels, kernel = channels, side // 2, min(2 * channels, MOST_CHANNELS), 3
        self.convolutions = nn.Sequential(*layers[:-1])
        self.projection = nn.Linear(before * side**2, width)

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self.projection.out_features

    def embed_pictures(self, pixels_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """All of what the convolutions leave, projected."""
        # the last activation where rows are flat: its gradient, which comes flat, would meet values in another order of memory
        return self.projection(torch.relu_(self.convolutions(pixels_BCHW).flatten(1)))


def convolution_encoder(*, side: int, width: int, seed: int) -> ConvolutionEncoder:
    """Weights by He et al. (2015), biases 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ConvolutionEncoder(side=side, width=width)
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)
    return encoder
