"""Tiny models of many kinds, made in code, each in the form in which somebody publishes one."""

import json
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from tempembed.encoders.tokenizer import train_tokenizer

TEXTS = [
    "open the matrix named a1 and return it", "close a socket", "def sort_queue(x): return queue.sort(x, 3)",
    "render the image, invert the calendar", "count count count parser", "search: query: passage: text",
]  # fmt: skip
WIDTH = 32
PROMPTS = {"query": "query: ", "document": "passage: "}


def tokenizer() -> Tokenizer:
    """Lower-cased word pieces with [CLS] and [SEP], 300 tokens."""
    return train_tokenizer(TEXTS * 40, 300)


def bare_tokenizer() -> Tokenizer:
    """Bytes, without special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<end>"],
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(TEXTS * 40, trainer)
    return made


def fast(made: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    """For transformers."""
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **special)


def bert_tokenizer() -> PreTrainedTokenizerFast:
    return fast(
        tokenizer(),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def save_plain(model: torch.nn.Module, tokens: PreTrainedTokenizerFast, folder: Path) -> Path:
    """A transformers folder, without sentence-transformers' files."""
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def bert(folder: Path, **changes: int) -> Path:
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 64, "max_position_embeddings": 64, **changes}  # fmt: skip
    return save_plain(
        BertModel(BertConfig(**sizes, pad_token_id=0), add_pooling_layer=False), bert_tokenizer(), folder
    )


def roberta(folder: Path, places: int = 66) -> Path:
    """Its table has two places more than a text may have tokens."""
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=300, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=places, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    return save_plain(RobertaModel(config, add_pooling_layer=False), bert_tokenizer(), folder)


def gpt2(folder: Path) -> Path:
    """No padding token, no special tokens around a text, places learned."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=320, n_positions=64, n_embd=WIDTH, n_layer=2, n_head=2)
    return save_plain(GPT2Model(config), fast(bare_tokenizer(), eos_token="<end>"), folder)


def llama(folder: Path) -> Path:
    """A decoder that pads on the left."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    made = fast(bare_tokenizer(), eos_token="<end>", pad_token="<end>")
    made.padding_side = "left"
    return save_plain(LlamaModel(config), made, folder)


def wrapped(base: Path, folder: Path, *, pooling: str = "mean", include_prompt: bool = True, rest: tuple = (),
            dtype: torch.dtype | None = None, **config: object) -> Path:  # fmt: skip
    """A sentence-transformers folder around a transformer."""
    modules = [Transformer(str(base)), Pooling(WIDTH, pooling, include_prompt=include_prompt), *rest]
    model = SentenceTransformer(modules=modules, device="cpu", **config)
    if dtype:
        model = model.to(dtype)
    model.save(str(folder), create_model_card=False)
    return folder


def static(
    folder: Path, *, rest: tuple = (), dtype: torch.dtype = torch.float32, seed: int = 0, **config: object
) -> Path:
    """A table."""
    made = tokenizer()
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(made.get_vocab_size(), WIDTH, generator=generator) * WIDTH**-0.5
    modules = [StaticEmbedding(made, embedding_weights=table), *rest]
    SentenceTransformer(modules=modules, device="cpu", **config).to(dtype).save(
        str(folder), create_model_card=False
    )
    return folder


def _seeded(made: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


KINDS = {
    "static": lambda at: static(at / "m"),
    "static, prompts": lambda at: static(at / "m", prompts=PROMPTS),
    "static in float16": lambda at: static(
        at / "m", dtype=torch.float16, prompts=PROMPTS, default_prompt_name="query"
    ),
    "static, dense, normalised": lambda at: static(at / "m", rest=(_seeded(Dense(WIDTH, 16)), Normalize())),
    "bert, mean": lambda at: wrapped(bert(at / "b"), at / "m"),
    "bert, cls, prompts": lambda at: wrapped(bert(at / "b"), at / "m", pooling="cls", prompts=PROMPTS),
    "bert, prompt not pooled": lambda at: wrapped(
        bert(at / "b"),
        at / "m",
        include_prompt=False,
        prompts={"query": "search the text: ", "document": "text: "},
    ),
    "bert, weighted, prompt not pooled": lambda at: wrapped(
        bert(at / "b"), at / "m", pooling="weightedmean", include_prompt=False, prompts=PROMPTS
    ),
    "bert, default prompt only": lambda at: wrapped(
        bert(at / "b"), at / "m", prompts={"classify": "count: "}, default_prompt_name="classify"
    ),
    "bert in bfloat16": lambda at: wrapped(bert(at / "b"), at / "m", dtype=torch.bfloat16, prompts=PROMPTS),
    "plain bert": lambda at: bert(at / "m"),
    "plain roberta": lambda at: roberta(at / "m"),
    "plain gpt2": lambda at: gpt2(at / "m"),
    "llama, left padding, last token": lambda at: wrapped(
        llama(at / "b"), at / "m", pooling="lasttoken", prompts={"query": "search: "}
    ),
}
"""Name to a function that makes the model in a folder and returns its place."""


def change_json(path: Path, **changes: object) -> None:
    """Change entries of a JSON object in a file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
