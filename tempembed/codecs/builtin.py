"""The number codecs that tempembed has. Importing this registers them; others register theirs with `numbers.register`."""

from tempembed.codecs.bits import ItqBits, MedianBits, RotatedBits, SignBits
from tempembed.codecs.integers import Int4, Int8
from tempembed.codecs.numbers import NUMBERS, Float16, Float32, register
from tempembed.codecs.product import ProductQuantizer

for _codec in (Float32, Float16, Int8, Int4, SignBits, MedianBits, RotatedBits, ItqBits, ProductQuantizer):
    register(_codec)

__all__ = ["NUMBERS", "register"]
