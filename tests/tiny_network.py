"""A tiny encoder with random weights and its own tokenizer, which runs all of the real code in milliseconds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from potstill.students.encoding import EncoderFacts

TEXTS = [
    "The council opened a library.",
    "",
    ".",
    "Der Bürgermeister eröffnete die Brücke über den Fluß.",
    "市政府周二宣布了一项新的住房计划。",
    "Рыбаки вернулись в порт после шторма.",
    "أعلنت المدينة عن خطة جديدة.",
    "The river rose again overnight, and volunteers filled sandbags by the old bridge. " * 20,
    "a",
    "🙂🙂 no words, nearly",
]
"""Texts that are short, empty, long and in several scripts."""


def tiny_tokenizer(seed=0, *, special=True):
    """Return a tokenizer with characters as tokens, numbered in an order that depends on the seed."""
    characters = sorted({character for text in TEXTS for character in text.lower()} | set("abcdefghijklmnopqrstuvwxyz"))
    order = np.random.default_rng(seed).permutation(len(characters))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(characters[index] for index in order)]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def tiny_bert(width=32, seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=200,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def tiny_qwen(width=32, seed=0):
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=200,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        initializer_range=0.3,
        use_cache=False,
    )
    return Qwen2Model(config).eval()


@dataclass
class TinyNetwork:
    """The interface that export needs; torch computes features one text at a time, in the simplest way."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerFast
    pooling: str = "mean"
    max_tokens: int = 48
    prefix: str = ""
    layers: tuple[int, ...] = ()
    learned: torch.nn.Module | None = None

    @cached_property
    def facts(self):
        return EncoderFacts(
            backbone="tiny",
            backbone_sha256="0" * 64,
            width=self.model.config.hidden_size * max(1, len(self.layers)),
            max_tokens=self.max_tokens,
            pooling=self.pooling,
            prefix=self.prefix,
            layers=self.layers,
        )

    @property
    def width(self):
        return self.facts.width

    @torch.no_grad()
    def encode(self, texts):
        rows = []
        for text in texts:
            ids = self.tokenizer(self.prefix + text, truncation=True, max_length=self.max_tokens)["input_ids"] or [0]
            found = self.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            states = [found.hidden_states[layer][0] for layer in self.layers] or [found.last_hidden_state[0]]
            pooled = {
                "mean": lambda state: state.mean(0),
                "cls": lambda state: state[0],
                "last": lambda state: state[-1],
            }
            rows.append(torch.cat([pooled[self.pooling](state) for state in states]))
        return torch.stack(rows).numpy()

    def truncated(self, texts):
        return np.array([len(self.tokenizer(self.prefix + text)["input_ids"]) > self.max_tokens for text in texts])
