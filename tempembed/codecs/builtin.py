"""The number codecs that tempembed has. Importing this registers them; others register theirs with `numbers.register`."""

from tempembed.codecs.bbq import BBQ
from tempembed.codecs.bits import ItqBits, MedianBits, RotatedBits, SignBits
from tempembed.codecs.integers import Int4, Int8
from tempembed.codecs.numbers import NUMBERS, Float16, Float32, NumberCodec, register
from tempembed.codecs.product import ProductQuantizer
from tempembed.codecs.rabitq import RaBitQ
from tempembed.codecs.scalar import FaissScalar, QdrantScalar
from tempembed.system.plugins import load_plugins

for _codec in (
    Float32, Float16, Int8, FaissScalar, QdrantScalar, Int4, SignBits, MedianBits, RotatedBits, ItqBits, BBQ, RaBitQ, ProductQuantizer,
):  # fmt: skip
    register(_codec)


def number_codecs() -> dict[str, type[NumberCodec]]:
    """All by name, with those of plugins."""
    load_plugins()
    return NUMBERS
