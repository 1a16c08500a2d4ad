"""Loglikelihoods of a causal language model: all texts of a plan in one tree of prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.core.records import RunCounters
from forecast.evaluation.records import ScoringSettings
from forecast.evaluation.scorers.scorer import Asked, AskedAnswers, Scored, Scoring, Written, WrittenText
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.engine import ScoringOptions, score_plan
from forecast.scoring.flops import forward_cost, matmul_rate
from forecast.scoring.generation import plan_prompts, write_answers
from forecast.scoring.plan import ScoringPlan, make_plan
from forecast.scoring.requests import TextRequest
from forecast.scoring.tokenization import Encoder
from forecast.scoring.tokenizer_check import count_unknown


class PlanCache:
    """The plan of the checkpoint before: the next one of its family most likely has the same."""

    def __init__(self) -> None:
        """Start empty."""
        self._key: object = None
        self._plan: ScoringPlan | None = None

    def get(
        self, texts: Sequence[TextRequest], task_ids: tuple[str, ...], checkpoint: LoadedCheckpoint, tokenizer_hash: str
    ) -> ScoringPlan:
        """Return the plan of these tasks' texts for this tokenizer and window."""
        key = (tokenizer_hash, checkpoint.max_length, task_ids)
        if self._plan is None or key != self._key:
            encoder = Encoder(checkpoint.tokenizer, max_length=checkpoint.max_length)
            self._plan = make_plan(encoder.encode_requests(texts))
            self._key = key
        return self._plan


class CausalScorer:
    """A loaded causal model."""

    together = True

    def __init__(self, checkpoint: LoadedCheckpoint, settings: ScoringSettings, plans: PlanCache, tokenizer_hash: str) -> None:
        """Nothing is computed yet; `plans` may be shared with other checkpoints."""
        self._checkpoint = checkpoint
        self._settings = settings
        self._plans = plans
        self._tokenizer_hash = tokenizer_hash

    def score(self, asked: Asked) -> Scoring:
        """Plan the texts; a rolling text longer than the window has several parts.

        Raises:
            CheckpointError: a logit is NaN or infinite, or a token is outside the vocabulary.
        """
        plan = self._plans.get(asked.texts, asked.task_ids, self._checkpoint, self._tokenizer_hash)
        unknown = count_unknown(self._checkpoint.tokenizer, plan.tree.row_target)
        if unknown:
            asked.notice(
                f"{unknown:,} of {len(plan.tree.row_target):,} distinct scored tokens are unknown to the tokenizer "
                "and scored as such"
            )
        text_of = np.array([request.owner for request in plan.requests], dtype=np.int64)

        def of_texts(counts: Sequence[int] | NDArray[np.int64], owners: NDArray[np.int64] = text_of) -> NDArray[np.int64]:
            return np.bincount(owners, weights=counts, minlength=len(asked.texts)).astype(np.int64)

        wanted = asked.wanted[text_of]
        entries, rows = plan.entries_of(wanted), plan.rows_of(wanted)
        cost = forward_cost(self._checkpoint.model, self._checkpoint.params_non_embedding)
        tokens_asked = of_texts([len(request.inputs) for request in plan.requests])
        share = tokens_asked * asked.wanted
        if entries.all():
            # By the distinct prefixes that a text was the first to ask for. In a session that went on with some items, whose
            # prefixes a finished item may have asked for first, by the tokens that it asked for.
            lengths = np.diff(np.append(plan.tree.segment_start, len(plan.tree.token)))
            share = of_texts(lengths, text_of[plan.tree.segment_request])
        return Scoring(
            results=self._results(plan, text_of, wanted, asked),
            n_parts=np.bincount(text_of, minlength=len(asked.texts)),
            n_tokens=of_texts([len(request.targets) for request in plan.requests]),
            tokens_asked=tokens_asked,
            tokens_truncated=of_texts([request.n_truncated for request in plan.requests]),
            share=share,
            total=int(entries.sum()),
            unit="tokens",
            tokens_unique=int(entries.sum()),
            flops_bound=cost.bound(plan.tree, entries, rows),
        )

    def _results(
        self, plan: ScoringPlan, text_of: NDArray[np.int64], wanted: NDArray[np.bool_], asked: Asked
    ) -> Iterator[Scored]:
        options = ScoringOptions(token_budget=self._settings.token_budget, deterministic=self._settings.deterministic)
        n_targets = np.array([len(request.targets) for request in plan.requests], dtype=np.int64)
        for done in score_plan(
            self._checkpoint,
            plan,
            options,
            on_notice=asked.notice,
            name_request=lambda index: asked.name(plan.requests[index].owner),
            wanted=wanted,
        ):
            yield Scored(
                text=text_of[done.request],
                loglikelihood=done.loglikelihood,
                is_greedy=done.is_greedy,
                advance=done.tokens_computed,
                tokens_computed=done.tokens_computed,
                tokens_padded=done.tokens_padded,
                flops=done.flops,
                token_loglikelihood=done.token_loglikelihood,
                part_tokens=n_targets[done.request],
            )

    def write(self, asked: AskedAnswers) -> Iterator[Written]:
        """Write answers side by side in fixed blocks.

        Raises:
            InputError: a prompt leaves no room for its answer.
            CheckpointError: a logit is NaN or infinite.
        """
        prompts = plan_prompts(self._checkpoint, asked.requests, asked.decodings)
        cut = sum(prompt.n_truncated > 0 for prompt in prompts)
        if cut:
            asked.notice(f"{cut:,} of {len(prompts):,} prompts are cut on the left: their answers need room in the window")
        for part in write_answers(
            self._checkpoint,
            prompts,
            wanted=frozenset(np.flatnonzero(asked.wanted).tolist()),
            seed=asked.seed,
            positions=self._settings.token_budget,
            alone=self._settings.deterministic,
            on_notice=asked.notice,
            name_item=asked.name,
        ):
            yield Written(
                answers=[
                    (one.prompt, one.sample, WrittenText(text=one.text, n_tokens=one.n_tokens, stopped=one.stopped))
                    for one in part.answers
                ],
                tokens_computed=part.tokens_computed,
                tokens_padded=part.tokens_padded,
                flops=part.flops,
            )

    def summarise(self, totals: RunCounters) -> str:
        """Say what was asked for, what of it was distinct, and how near the machine's product rate it was computed."""
        if not totals.seconds or not totals.flops_bound:
            return ""
        rate = matmul_rate(self._settings.device, self._settings.dtype)
        return (
            f"{totals.tokens_requested:,} tokens asked for, {totals.tokens_unique:,} of them distinct, "
            f"{totals.tokens_computed:,} computed, {totals.tokens_padded:,} padded; "
            f"{totals.flops_done / totals.flops_bound:.2f} times the least FLOPs, "
            f"{totals.flops_done / totals.seconds / rate:.0%} of the measured product rate"
        )
