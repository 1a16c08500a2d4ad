"""Pseudo-log-likelihoods against a float64 oracle that masks and scores one token at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from forecast.api.evaluate import evaluate
from forecast.core.errors import CheckpointError, InputError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.scoring.checkpoint_loading import LoadedCheckpoint, is_masked, load_checkpoint
from forecast.scoring.engine import ScoringOptions
from forecast.scoring.masked_forward import score_masked
from forecast.scoring.masked_tokenization import MaskedEncoder
from forecast.scoring.requests import TextRequest
from forecast.scoring.versions import MASKED_BACKEND, MASKED_SCORING_VERSION

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
        vocab_size=90, special_tokens=_BERT_SPECIAL, initial_alphabet=letters, show_progress=False
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


PAIRS = [
    ("the cat sat on the", " mat"),
    ("the cat sat on the", " barn"),
    ("the cat sat on the ", "unbelievably large apple"),
    ("The dog", " ran, didn't it?"),
    ("", "the red barn"),
    ("", " an apple"),
    ("an un", "believable apple"),
    ("the dog", " ate a café 漢 🙂"),
    ("the dog ran to the red barn and ate an apple " * 9, "on the mat"),
    ("the cat", " unbelievably unbelievably unbelievably large"),
    ("the dog\n\n", "the cat"),
]
ROLLING = "the cat sat on the mat. the dog ran to the unbelievably red barn and ate an apple. " * 6


def requests() -> list[TextRequest]:
    pairs = [TextRequest(item_idx=i, choice_idx=0, context=ctx, continuation=cont) for i, (ctx, cont) in enumerate(PAIRS)]
    return [*pairs, TextRequest(item_idx=len(pairs), choice_idx=0, context="", continuation=ROLLING, rolling=True)]


@pytest.fixture(scope="module")
def make_masked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    made: dict[tuple[str, int], Path] = {}

    def make(architecture: str, window: int = 48) -> Path:
        key = (architecture, window)
        if key not in made:
            made[key] = save_masked_checkpoint(tmp_path_factory.mktemp(architecture), architecture, window=window)
        return made[key]

    return make


def score(checkpoint: LoadedCheckpoint, texts: list[TextRequest], **options: object) -> tuple[list[tuple], list[str]]:
    """(sum, tokens, greedy) of each text, and the notices."""
    encoded = MaskedEncoder(checkpoint.tokenizer, max_length=checkpoint.max_length).encode_requests(texts)
    sums, counts, greedy = np.zeros(len(texts)), np.zeros(len(texts), dtype=int), np.ones(len(texts), dtype=bool)
    notices: list[str] = []
    for done in score_masked(checkpoint, encoded, ScoringOptions(**options), on_notice=notices.append, name_request=str):
        np.add.at(sums, done.owner, done.loglikelihood)
        np.add.at(counts, done.owner, 1)
        np.logical_and.at(greedy, done.owner, done.is_greedy)
    return [(float(a), int(b), bool(c)) for a, b, c in zip(sums, counts, greedy, strict=True)], notices


@pytest.mark.parametrize("deterministic", [False, True])
def test_what_is_left_gets_the_bits_that_it_gets_among_all(deterministic: bool, make_masked: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_masked("bert"), dtype="float32", device="cpu")
    texts = requests()
    encoded = MaskedEncoder(checkpoint.tokenizer, max_length=checkpoint.max_length).encode_requests(texts)
    options = ScoringOptions(token_budget=100, deterministic=deterministic)

    def sums(wanted: np.ndarray | None) -> tuple[np.ndarray, int]:
        found, n_batches = np.zeros(len(texts)), 0
        for done in score_masked(checkpoint, encoded, options, on_notice=pytest.fail, name_request=str, wanted=wanted):
            np.add.at(found, done.owner, done.loglikelihood)
            n_batches += 1
        return found, n_batches

    whole, n_batches = sums(None)
    left = np.array([request.owner in {1, 4, 9} for request in encoded])
    rest, n_fewer = sums(left)
    assert n_fewer < n_batches
    assert [rest[owner] for owner in (1, 4, 9)] == [whole[owner] for owner in (1, 4, 9)]


@torch.inference_mode()
def oracle(model: torch.nn.Module, tokenizer: transformers.PreTrainedTokenizerFast, text: str, boundary: int, window: int):
    """Kauf & Ivanova's word-l2r, written from the definition: one masked sequence per token, float64."""
    row = tokenizer(text, return_offsets_mapping=True)
    ids, words, offsets = row["input_ids"], row.word_ids(0), row["offset_mapping"]
    scored = [i for i in range(1, len(ids) - 1) if offsets[i][1] > boundary]
    cut = max(0, len(ids) - window)  # left truncation keeps the special token in front
    total, greedy = 0.0, True
    for i in scored:
        hidden = [j for j in range(i, len(ids) - 1) if words[j] == words[i]]
        masked = [tokenizer.mask_token_id if j in hidden else token for j, token in enumerate(ids)]
        masked, target = [masked[0], *masked[1 + cut :]], ids[i]
        logits = model(input_ids=torch.tensor([masked])).logits[0, i - cut]
        total += float(logits.log_softmax(-1)[target])
        greedy &= int(logits.argmax()) == target
    return total, len(scored), greedy


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "fnet", "convbert"])
@pytest.mark.parametrize("budget", [None, 100])
def test_scores_are_the_oracles(make_masked: Callable[..., Path], architecture: str, budget: int | None) -> None:
    folder = make_masked(architecture)
    found, _ = score(load_checkpoint(folder, dtype="float32", device="cpu"), requests()[:-1], token_budget=budget)
    exact = load_checkpoint(folder, dtype="float64", device="cpu")
    assert exact.max_length == 48
    for (context, continuation), (total, count, greedy) in zip(PAIRS, found, strict=True):
        boundary = len(context.rstrip())
        expected, n_tokens, is_greedy = oracle(exact.model, exact.tokenizer, context + continuation, boundary, 48)
        assert total == pytest.approx(expected, abs=1e-4 * n_tokens), (context, continuation)
        assert (count, greedy) == (n_tokens, is_greedy)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_deterministic_scoring_gives_the_same_bits_whatever_the_budget(
    make_masked: Callable[..., Path], architecture: str
) -> None:
    checkpoint = load_checkpoint(make_masked(architecture), dtype="float32", device="cpu")
    first, _ = score(checkpoint, requests(), deterministic=True)
    second, _ = score(checkpoint, requests()[::-1], deterministic=True, token_budget=300)
    assert first == second[::-1]
    fast, _ = score(checkpoint, requests())
    assert [total for total, _, _ in fast] == pytest.approx([total for total, _, _ in first], abs=1e-3)


def test_word_internal_pieces_are_hidden_and_earlier_ones_are_not(make_masked: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_masked("bert"), dtype="float32", device="cpu")
    encoder = MaskedEncoder(checkpoint.tokenizer, max_length=48)
    (request,) = encoder.encode_requests(
        [TextRequest(item_idx=0, choice_idx=0, context="the", continuation=" unbelievably ran")]
    )
    pieces = checkpoint.tokenizer.convert_ids_to_tokens(request.inputs)
    starts = [i for i, piece in enumerate(pieces) if not piece.startswith("##")]
    for position, end in zip(request.scored, request.word_end, strict=True):
        assert end == min(start for start in starts if start > position)
    assert len(request.scored) == len(pieces) - 3  # all but [CLS], the, [SEP]
    assert any(end - position > 2 for position, end in zip(request.scored, request.word_end, strict=True))


def test_a_long_text_is_scored_token_by_token_in_disjoint_windows(make_masked: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_masked("bert"), dtype="float32", device="cpu")
    encoder = MaskedEncoder(checkpoint.tokenizer, max_length=48)
    windows = encoder.encode_requests(requests()[-1:])
    assert len(windows) > 2
    assert all(len(window.inputs) <= 48 and window.n_truncated == 0 for window in windows)
    body = [token for window in windows for token in window.inputs[1:-1]]
    assert body == checkpoint.tokenizer(ROLLING, add_special_tokens=False)["input_ids"]
    assert all(window.scored == tuple(range(1, len(window.inputs) - 1)) for window in windows)
    first_pieces = [checkpoint.tokenizer.convert_ids_to_tokens([window.inputs[1]])[0] for window in windows]
    assert not any(piece.startswith("##") for piece in first_pieces)


def test_choices_that_differ_only_under_the_mask_share_one_forward_pass(make_masked: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_masked("bert"), dtype="float32", device="cpu")
    encoder = MaskedEncoder(checkpoint.tokenizer, max_length=48)
    vocabulary = checkpoint.tokenizer.get_vocab()
    words = [word for word in ("the", "a", "b", "c") if word in vocabulary]
    texts = [TextRequest(item_idx=0, choice_idx=i, context="the dog", continuation=f" {word}") for i, word in enumerate(words)]
    encoded = encoder.encode_requests(texts)
    batches = list(score_masked(checkpoint, encoded, ScoringOptions(), on_notice=pytest.fail, name_request=str))
    assert sum(batch.tokens_computed for batch in batches) == len(encoded[0].inputs)
    assert sum(batch.tokens_asked for batch in batches) == len(words) * len(encoded[0].inputs)


def test_architectures_that_padding_or_narrowing_would_change_say_so(make_masked: Callable[..., Path]) -> None:
    _, notices = score(load_checkpoint(make_masked("convbert"), dtype="float32", device="cpu"), requests())
    assert notices == []  # exact without padding, head still narrowed


def test_left_truncation_is_counted_and_an_overlong_choice_named(make_masked: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_masked("roberta"), dtype="float32", device="cpu")
    encoder = MaskedEncoder(checkpoint.tokenizer, max_length=checkpoint.max_length)
    (cut,) = encoder.encode_requests(requests()[8:9])
    whole = checkpoint.tokenizer("".join(PAIRS[8]))["input_ids"]
    assert cut.n_truncated == len(whole) - 48
    assert cut.inputs == (whole[0], *whole[1 + cut.n_truncated :])
    with pytest.raises(InputError, match=r"item 7, choice 2: .* has \d+ tokens .*expected 1 to 46"):
        encoder.encode_requests([TextRequest(item_idx=7, choice_idx=2, context="x", continuation=" the cat" * 40)])
    bert = load_checkpoint(make_masked("bert"), dtype="float32", device="cpu")
    with pytest.raises(InputError, match="item 1, choice 0"):
        MaskedEncoder(bert.tokenizer, max_length=48).encode_requests(
            [TextRequest(item_idx=1, choice_idx=0, context="the", continuation=" ")]
        )


def test_a_nan_weight_and_a_foreign_tokenizer_are_named(make_masked: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_masked("bert")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["bert.encoder.layer.1.output.dense.bias"][:] = math.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="a logit is NaN or infinite at"):
        score(load_checkpoint(tmp_path, dtype="float32", device="cpu"), requests())
    checkpoint = load_checkpoint(folder, dtype="float32", device="cpu")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = None
    with pytest.raises(CheckpointError, match="no mask token"):
        MaskedEncoder(tokenizer, max_length=checkpoint.max_length)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.BertConfig(architectures=["BertForMaskedLM"]), True),
        (transformers.BertConfig(architectures=["BertForPreTraining"]), True),
        (transformers.BertConfig(architectures=["BertLMHeadModel"], is_decoder=True), False),
        (transformers.RobertaConfig(), True),
        (transformers.RobertaConfig(architectures=["RobertaForCausalLM"]), False),
        (transformers.GPT2Config(), False),
        (transformers.BartConfig(), False),
    ],
)
def test_masked_models_are_told_from_causal_ones(config: transformers.PreTrainedConfig, expected: bool) -> None:
    assert is_masked(config) is expected


def test_evaluation_keeps_masked_scores_apart(
    make_masked: Callable[..., Path], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    text = tmp_path / "note.txt"
    text.write_text("the cat sat on the mat.\n<|endoftext|>\nthe dog ran to the red barn.\n", encoding="utf-8")
    progress = SilentProgress()
    folders = [make_masked("bert"), make_checkpoint("gpt_neox")]
    asked = [CheckpointRequest(source=str(folder), family=folder.name, model=folder.name) for folder in folders]
    report = evaluate(asked, tasks=[], text_files=[text], db=tmp_path / "x.duckdb", progress=progress)
    rows = {str(row["model"]): row for row in report.rows}
    assert len(rows) == 2, report.failures
    masked, causal = rows[folders[0].name], rows[folders[1].name]
    assert (masked["backend"], masked["scoring_version"]) == (MASKED_BACKEND, MASKED_SCORING_VERSION)
    assert causal["backend"] == "native"
    assert masked["scoring_version"] != causal["scoring_version"]
    assert any("pseudo-log-likelihood" in notice for notice in progress.notices)
    from forecast.store import Store

    definitions = {
        str(found)
        for batch in Store(tmp_path / "x.duckdb").query("SELECT definition FROM observations")
        for found in batch.column(0).to_pylist()
    }
    assert len(definitions) == 2
