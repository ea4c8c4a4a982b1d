"""The static encoder: the mean of token embeddings. It trains in seconds on a CPU."""

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from tempembed.encoders.encoder import Encoder


def static_encoder(tokenizer: Tokenizer, *, width: int, max_tokens: int, seed: int) -> Encoder:
    """Token embeddings drawn from N(0, 1/width), averaged over a text's tokens."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(tokenizer.get_vocab_size(), width, generator=generator) * width**-0.5
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=weights)],
        device="cpu",
        similarity_fn_name="cosine",
    )
    return Encoder(model, max_tokens)
