"""A two-layer random Llama with a real tokenizer, made from a seed in under a second.

Every width differs from the vocabulary (the builder takes any linear layer as wide as
the vocabulary for the head) and is an even multiple of 32 (which k_quant asks for);
heads are 16 wide (the kernels' granularity).
Weights are drawn wide enough that its next-token distribution is far from flat.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["EOS", "make_tiny_model", "make_tiny_tokenizer"]

EOS = "<|endoftext|>"
_TEXT = (
    "I am so happy about the news today. This is the saddest day of the year.",
    "What a surprise to see them here! The dark house is scary and fills me with fear.",
    "### Text: the tone of the phrase is one of joy, sadness, fear and surprise",
)


def make_tiny_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE tokenizer (any text is encodable); return its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415 - only tests that need a model pay

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        show_progress=False,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    config |= {
        "bos_token": EOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    size: int = tokenizer.get_vocab_size()
    return size


def make_tiny_model(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Fill ``folder`` with a Hugging Face model: fp32 safetensors, tied embeddings."""
    import torch  # noqa: PLC0415 - only tests that need a model pay
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - same

    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = make_tiny_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,
        dtype="float32",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        # The row of the padding token, which also starts a text here, would be zero.
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=config.initializer_range)
    model.generation_config = GenerationConfig.from_model_config(config)
    model.save_pretrained(folder)
    return folder
