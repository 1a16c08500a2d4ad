"""Writes the answers of one block: its header once, its prompts side by side, then token by token the rows that are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from forecast.core.errors import CheckpointError
from forecast.scoring.answer_text import AnswerReader
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.cpu_products import fast_products, replaceable
from forecast.scoring.decode_attention import IMPLEMENTATION, DecodeState, KeysValues, decoding
from forecast.scoring.draws import RowDraws, drawn_tokens, greedy_tokens
from forecast.scoring.generation_plan import Block, Prompt
from forecast.scoring.packed_forward import why_unsupported
from forecast.scoring.scored_head import ScoredHead
from forecast.scoring.tree_attention import UnsupportedAttentionError

_POSITIONS = {"cpu": 2048, "cuda": 8192}
"""Prompt tokens per forward pass."""
_LEAVE = 8
"""Rows leave the block once an eighth of them is finished: copying what stays costs about one step."""


@dataclass(kw_only=True)
class Row:
    """One answer while it is written."""

    prompt: int
    """Position of its prompt in the plan."""
    sample: int
    draws: RowDraws | None
    tokens: list[int]
    log_p: list[float]
    """Log-probability of each token of the answer, kept where the block is checked."""
    stopped: bool = False
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class WrittenBlock:
    """A block's answers, and what they cost."""

    rows: Sequence[Row]
    tokens_computed: int
    tokens_padded: int
    flops: float


class DecodeModel:
    """A causal model taken apart for writing answers."""

    def __init__(self, checkpoint: LoadedCheckpoint, *, seed: int, name_item: Callable[[int], str]) -> None:
        """Take it apart; `name_item` names an item by the position of its prompt, for errors.

        Raises:
            UnsupportedAttentionError: the architecture has attention of its own, or takes no positions.
        """
        model: Any = checkpoint.model
        self._trunk = model.base_model
        self._config = model.config.get_text_config(decoder=True)
        head = model.get_output_embeddings()
        if reason := why_unsupported(model, self._trunk, head, self._config):
            raise UnsupportedAttentionError(reason)
        self._head = ScoredHead(head, self._config)
        self._products = replaceable(self._trunk)
        self._layers = int(self._config.num_hidden_layers)
        self._device = model.get_input_embeddings().weight.device
        self._params = checkpoint.params_non_embedding
        self._seed = seed
        self._name_item = name_item
        self._header: tuple[tuple[int, ...], dict[int, KeysValues]] = ((), {})

    @torch.inference_mode()
    def write(self, prompts: Sequence[Prompt], block: Block, reader: AnswerReader, *, traced: int = 0) -> WrittenBlock:
        """Write all answers of a block; of the first `traced` rows the tokens' log-probabilities are kept.

        Raises:
            UnsupportedAttentionError: a layer did not use the attention it was given.
            CheckpointError: a logit is not a number.
        """
        computed, padded = self._prepare_header(prompts[block.prompts[0]].tokens[: block.header])
        own = [prompts[index].tokens[block.header :] for index in block.prompts]
        state = DecodeState(self._header[1], block.header, len(own), block.capacity)
        hidden = self._read_prompts(state, own)
        computed, padded = computed + sum(map(len, own)), padded + len(own) * max(map(len, own)) - sum(map(len, own))
        times = torch.tensor([last - first for first, last in block.samples])
        if len(own) < block.rows:
            state.repeat(times)
            hidden = hidden.repeat_interleave(times.to(hidden.device), 0)
        lengths = torch.repeat_interleave(torch.tensor([len(tokens) for tokens in own]), times)
        rows = [
            Row(prompt=index, sample=sample, draws=self._draws(prompts[index], sample), tokens=[], log_p=[])
            for index, (first, last) in zip(block.prompts, block.samples, strict=True)
            for sample in range(first, last)
        ]
        written = list(rows)
        decoding_of = prompts[block.prompts[0]].decoding
        for position in range(decoding_of.max_new_tokens):
            logits = self._head.logits(hidden)
            self._check_finite(logits, rows)
            draws = [row.draws for row in rows if row.draws is not None]
            chosen = drawn_tokens(logits, decoding_of, draws) if decoding_of.is_drawn else greedy_tokens(logits)
            self._append(rows, chosen, logits, reader, written[:traced])
            alive = [i for i, row in enumerate(rows) if not row.finished]
            if not alive or position + 1 == decoding_of.max_new_tokens:
                break
            if _LEAVE * (len(rows) - len(alive)) >= len(rows):
                kept = torch.tensor(alive)
                state.keep(kept)
                rows, lengths = [rows[i] for i in alive], lengths[kept]
            tokens = torch.tensor([[row.tokens[-1]] for row in rows])
            hidden = self._forward(state, tokens, lengths, block.header)[:, 0]
            lengths = lengths + 1
            computed += len(rows)
        return WrittenBlock(rows=written, tokens_computed=computed, tokens_padded=padded, flops=2.0 * self._params * computed)

    def _draws(self, prompt: Prompt, sample: int) -> RowDraws | None:
        return RowDraws(self._seed, prompt.item, sample) if prompt.decoding.is_drawn else None

    def _append(
        self, rows: Sequence[Row], chosen: Sequence[int], logits: torch.Tensor, reader: AnswerReader, traced: Sequence[Row]
    ) -> None:
        for i, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if row.finished:
                continue
            row.tokens.append(token)
            if any(row is one for one in traced):
                row.log_p.append(float(logits[i].double().log_softmax(-1)[token]))
            if reader.is_stopped(row.tokens):
                row.stopped = row.finished = True

    def _prepare_header(self, tokens: tuple[int, ...]) -> tuple[int, int]:
        """Compute the header's keys and values unless the block before had the same; return positions computed and padded."""
        if tokens == self._header[0]:
            return 0, 0
        if not tokens:
            self._header = ((), {})
            return 0, 0
        state = DecodeState({}, 0, 1, len(tokens))
        self._read_prompts(state, [tokens])
        self._header = (tokens, state.own(len(tokens)))
        return len(tokens), 0

    def _read_prompts(self, state: DecodeState, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """(B, E) trunk outputs after each prompt's last token."""
        width = max(map(len, prompts))
        tokens = torch.zeros((len(prompts), width), dtype=torch.long)
        for i, prompt in enumerate(prompts):
            tokens[i, : len(prompt)] = torch.tensor(prompt)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts])
        step = max(1, _POSITIONS.get(self._device.type, _POSITIONS["cpu"]) // len(prompts))
        found: torch.Tensor | None = None
        for start in range(0, width, step):
            part = tokens[:, start : start + step]
            hidden = self._forward(state, part, torch.full((len(prompts),), start), state.header_length)
            found = hidden.new_zeros((len(prompts), hidden.shape[-1])) if found is None else found
            here = ((last >= start) & (last < start + part.shape[1])).nonzero()[:, 0]
            found[here.to(found.device)] = hidden[here.to(hidden.device), (last[here] - start).to(hidden.device)]
        assert found is not None
        return found

    def _forward(self, state: DecodeState, tokens: torch.Tensor, lengths: torch.Tensor, header: int) -> torch.Tensor:
        state.begin(lengths, tokens.shape[1])
        positions = header + lengths[:, None] + torch.arange(tokens.shape[1])[None]
        before, state.calls = self._config._attn_implementation, 0
        self._config._attn_implementation = IMPLEMENTATION
        try:
            with decoding(state), fast_products(self._products):
                hidden: torch.Tensor = self._trunk(
                    input_ids=tokens.to(self._device), position_ids=positions.to(self._device), use_cache=False
                ).last_hidden_state
        finally:
            self._config._attn_implementation = before
        if state.calls != self._layers:
            raise UnsupportedAttentionError(f"{state.calls} of {self._layers} layers attend through the interface")
        if "sliding_attention" in (getattr(self._config, "layer_types", None) or ()) and not state.windows:
            raise UnsupportedAttentionError("layers with a sliding window do not say how wide it is")
        return hidden

    def _check_finite(self, logits: torch.Tensor, rows: Sequence[Row]) -> None:
        # A sum shows what looking at every logit would: it is finite only where all of them are.
        bad = (~torch.isfinite(logits.sum(-1))).nonzero()[:, 0].tolist()
        for index in bad:
            if not rows[index].finished:
                raise CheckpointError(
                    f"{self._name_item(rows[index].prompt)}: a logit of its answer is NaN or infinite",
                    remedy="the weights are damaged, or overflow in this `dtype=`: try float32",
                )
