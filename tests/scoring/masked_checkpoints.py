"""Tiny random masked language models with tokenizers trained on the spot."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 300
_CORPUS = ["the cat sat on the mat. the dog ran to the red barn and ate an unbelievably large apple, didn't it?"] * 4
_BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def wordpiece_tokenizer(max_length: int = 64) -> transformers.PreTrainedTokenizerFast:
    """BERT's: lower-cased words and punctuation, pieces that continue a word begin with ##."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,?'"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=110, special_tokens=_BERT_SPECIAL, initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator([*_CORPUS, " ".join(letters)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
    )


def byte_bpe_tokenizer(max_length: int = 64) -> transformers.PreTrainedTokenizerFast:
    """RoBERTa's: byte-level BPE, a word carries the space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_ROBERTA_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
        model_max_length=max_length,
    )


def save_masked_checkpoint(folder: Path, architecture: str, *, window: int = 64, seed: int = 0) -> Path:
    """Save a tiny model whose predictions are far from uniform, so that a wrong mask or position shows."""
    torch.manual_seed(seed)
    sized = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    common = {**sized, "vocab_size": VOCABULARY}
    configs = {
        "bert": lambda: transformers.BertConfig(**common, max_position_embeddings=window, pad_token_id=0),
        "roberta": lambda: transformers.RobertaConfig(
            **common, max_position_embeddings=window + 2, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1
        ),
        "distilbert": lambda: transformers.DistilBertConfig(
            dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=VOCABULARY, max_position_embeddings=window, pad_token_id=0
        ),
        "fnet": lambda: transformers.FNetConfig(
            hidden_size=32, num_hidden_layers=2, intermediate_size=48, vocab_size=VOCABULARY, max_position_embeddings=window
        ),
        "convbert": lambda: transformers.ConvBertConfig(
            **common, embedding_size=32, head_ratio=2, max_position_embeddings=window, pad_token_id=0
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForMaskedLM.from_config(configs[architecture]())
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.9 / parameter.shape[-1] ** 0.5))
            elif parameter.dim() == 1 and parameter.shape[0] == VOCABULARY:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    tokenizer = byte_bpe_tokenizer(window) if architecture == "roberta" else wordpiece_tokenizer(window)
    tokenizer.save_pretrained(folder)
    return folder
