"""A small bidirectional transformer from scratch, with mean pooling."""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tempembed.encoders import tokenizer as special
from tempembed.encoders.pretrained import PretrainedEncoder
from tempembed.encoders.transformers_log import silence


def transformer_encoder(
    tokenizer: Tokenizer, *, width: int, layers: int, max_tokens: int, seed: int
) -> PretrainedEncoder:
    """BERT's architecture with `layers` layers, heads of 64, feed-forward 4 x width; random weights."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special.PAD,
        unk_token=special.UNKNOWN,
        cls_token=special.START,
        sep_token=special.END,
        mask_token=special.MASK,
        model_max_length=max_tokens,
    )
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        intermediate_size=4 * width,
        max_position_embeddings=max_tokens,
        attention_probs_dropout_prob=0.0,  # with it, attention has no fused kernel on a CPU: a third of a forward
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder, silence():
        torch.manual_seed(seed)
        # sentence-transformers builds a Transformer module only from a folder, not from a model in memory
        bert = BertModel(config, add_pooling_layer=False)
        # save_pretrained writes nothing on ranks above 0 of a process group
        config.to_json_file(Path(folder) / "config.json", use_diff=False)
        save_file(bert.state_dict(), Path(folder) / "model.safetensors", metadata={"format": "pt"})
        fast.save_pretrained(folder)
        module = Transformer(str(Path(folder)), max_seq_length=max_tokens)
        model = SentenceTransformer(
            modules=[module, Pooling(width, "mean")], device="cpu", similarity_fn_name="cosine"
        )
    return PretrainedEncoder(model)


def build_transformer(
    tokenizer: Tokenizer, width: int, layers: int, max_tokens: int, seed: int
) -> PretrainedEncoder:
    """As `from_scratch` asks for it."""
    return transformer_encoder(tokenizer, width=width, layers=layers, max_tokens=max_tokens, seed=seed)
