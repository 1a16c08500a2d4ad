"""A family's members trained from its recipe: what each will take, the tokens they share, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forecast.catalog.training import TrainingRecipe
from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.core.progress import Progress
from forecast.training.architecture import padded_vocabulary
from forecast.training.events import CheckpointSaved, Event
from forecast.training.machine import Machine, look_at_machine, measure_matmul_rate, settle_settings, wants_bfloat16
from forecast.training.member import is_trained
from forecast.training.plan import MemberPlan, plan_member
from forecast.training.settings import MemberInputs
from forecast.training.side_by_side import Job, train_all
from forecast.training.token_cache import TokenCache, build_cache, load_tokenizer_file

END_TOKEN = "<|endoftext|>"
STATE_EVERY_SECONDS = 60.0
_ASSUMED_MFU = 0.35
"""Share of the matmul rate that a dry run's time estimate counts on."""


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """Files that a family is trained on."""

    corpus: Path
    tokenizer: Path
    """Folder with tokenizer.json."""
    validation: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MemberEstimate:
    """One line of a dry run."""

    member: str
    params: int
    params_non_embedding: int
    tokens: int
    steps: int
    tokens_per_step: int
    learning_rate: float
    flops: float
    """By the card's convention."""
    memory_bytes: int
    """Of one step as this machine would cut it."""
    seconds: float
    """At an assumed share of this machine's measured matmul rate."""
    done: bool


@dataclass(frozen=True, kw_only=True)
class TrainedMembers:
    """What a training left behind."""

    checkpoints: tuple[Path, ...]
    """Complete checkpoints of the family, earlier ones included."""
    skipped: tuple[str, ...]
    """Members that were trained already."""
    failures: dict[str, str]
    """Member -> what went wrong."""


def estimate_members(recipe: TrainingRecipe, tokenizer: Path | None, *, folder: Path, seed: int | None) -> list[MemberEstimate]:
    """Say what training would take on this machine; without a tokenizer, with the vocabulary of Pythia's.

    Raises:
        InputError: the tokenizer is malformed.
    """
    plans = _plan_all(recipe, tokenizer, seed=seed, data_hash="")
    machine = look_at_machine()
    rate = measure_matmul_rate(machine, threads=machine.cores, bfloat16=wants_bfloat16(recipe, machine))
    return [_estimate(plan, machine, rate * machine.processes, folder) for plan in plans]


def _estimate(plan: MemberPlan, machine: Machine, rate: float, folder: Path) -> MemberEstimate:
    settings = settle_settings(
        plan, machine, threads=machine.cores, jobs=1, peak_flops_per_second=rate, state_every_seconds=60, validation_sequences=1
    )
    done = all((folder / plan.member.name / f"step{branch.end}" / "forecast.json").is_file() for branch in plan.branches)
    return MemberEstimate(
        member=plan.member.name,
        params=plan.count.total,
        params_non_embedding=plan.count.non_embedding,
        tokens=plan.tokens,
        steps=plan.steps_computed,
        tokens_per_step=plan.tokens_per_step,
        learning_rate=plan.learning_rate,
        flops=plan.flops,
        memory_bytes=plan.memory_bytes(settings.micro_sequences),
        seconds=plan.hardware_flops / (rate * _ASSUMED_MFU),
        done=done,
    )


def train_members(
    whole: TrainingRecipe,
    recipe: TrainingRecipe,
    inputs: TrainingInputs,
    *,
    folder: Path,
    seed: int | None,
    jobs: int,
    threads: int | None,
    largest_first: bool,
    device: str,
    state_every_seconds: float,
    progress: Progress,
) -> TrainedMembers:
    """Train every member of `recipe` that is not trained yet; `whole` is the family that it is a part of.

    Raises:
        InputError: corpus or tokenizer are malformed.
    """
    machine = look_at_machine(device)
    jobs = 1 if machine.device == "cuda" or machine.processes > 1 else max(1, jobs)
    threads = threads or max(1, machine.cores // jobs)
    # Of all members: the order of the data must not depend on which of them are trained first.
    needed = max(plan.tokens for plan in _plan_all(whole, inputs.tokenizer, seed=seed, data_hash=""))
    train, validation = _tokenise(inputs, folder, needed, recipe.validation_tokens, machine, progress)
    plans = _plan_all(recipe, inputs.tokenizer, seed=seed, data_hash=train.data_hash)
    _notice_repeats(plans, train, progress)
    rate = measure_matmul_rate(machine, threads=threads, bfloat16=wants_bfloat16(recipe, machine))
    waiting, skipped, failures = _settle_jobs(
        sorted(plans, key=lambda plan: plan.hardware_flops, reverse=largest_first),
        MemberInputs(train=train, validation=validation, tokenizer=inputs.tokenizer, folder=folder),
        machine,
        threads=threads,
        jobs=jobs,
        peak_flops_per_second=rate,
        state_every_seconds=state_every_seconds,
    )
    failures |= _run(waiting, jobs, progress)
    checkpoints = tuple(path for plan in plans for path in _saved(plan, folder))
    return TrainedMembers(checkpoints=checkpoints, skipped=tuple(skipped), failures=failures)


def _settle_jobs(
    plans: Sequence[MemberPlan],
    inputs: MemberInputs,
    machine: Machine,
    *,
    threads: int,
    jobs: int,
    peak_flops_per_second: float,
    state_every_seconds: float,
) -> tuple[list[Job], list[str], dict[str, str]]:
    """Return what is to be trained, what is trained already, and member -> why it cannot be."""
    waiting: list[Job] = []
    skipped: list[str] = []
    failures: dict[str, str] = {}
    for plan in plans:
        name = plan.member.name
        try:
            if is_trained(plan, inputs.folder):
                skipped.append(name)
                continue
            settings = settle_settings(
                plan,
                machine,
                threads=threads,
                jobs=jobs,
                peak_flops_per_second=peak_flops_per_second,
                state_every_seconds=state_every_seconds,
                validation_sequences=max(1, plan.recipe.validation_tokens // plan.recipe.context_length),
            )
            waiting.append(Job(plan=plan, inputs=inputs, settings=settings))
        except ForecastError as error:
            failures[name] = str(error)
    return waiting, skipped, failures


def select_members(recipe: TrainingRecipe, members: Sequence[str]) -> TrainingRecipe:
    """Return the recipe of some members; of all where none is named.

    Raises:
        UsageError: there is no member of this name.
    """
    if not members:
        return recipe
    known = {member.name: member for member in recipe.members}
    unknown = [name for name in members if name not in known]
    if unknown:
        raise UsageError(f"unknown member '{unknown[0]}'", expected="one of " + ", ".join(known))
    return replace(recipe, members=tuple(known[name] for name in members))


def _plan_all(recipe: TrainingRecipe, tokenizer: Path | None, *, seed: int | None, data_hash: str) -> list[MemberPlan]:
    vocabulary, end_token = (50_280, 0) if tokenizer is None else _look_at_tokenizer(tokenizer)
    chosen = recipe.seed if seed is None else seed
    return [
        plan_member(recipe, member, vocabulary=vocabulary, end_token=end_token, seed=chosen, data_hash=data_hash)
        for member in recipe.members
    ]


def _look_at_tokenizer(folder: Path) -> tuple[int, int]:
    """Return embedding rows and the end token's id."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(load_tokenizer_file(folder)))
    end = tokenizer.token_to_id(END_TOKEN)
    if end is None:
        raise InputError(
            f"the tokenizer in '{folder}' has no token {END_TOKEN!r}", expected="an end-of-text token of that name"
        )
    return padded_vocabulary(tokenizer.get_vocab_size()), end


def _tokenise(
    inputs: TrainingInputs, folder: Path, needed: int, validation_tokens: int, machine: Machine, progress: Progress
) -> tuple[TokenCache, TokenCache | None]:
    """Tokenise corpus and validation text, or find them done."""
    cache_folder = folder / "tokens"
    jobs = machine.cores if needed > 2_000_000 else 1
    fresh = 0
    with progress.stage("tokenise", needed, "tokens") as bar:

        def count_tokens(count: int) -> None:
            nonlocal fresh
            fresh += count
            bar.advance(count)

        train = build_cache(
            inputs.corpus,
            inputs.tokenizer,
            cache_folder,
            end_token=END_TOKEN,
            needed_tokens=needed,
            jobs=jobs,
            advance=count_tokens,
        )
        bar.retotal(train.n_tokens)
        if fresh == 0:
            bar.advance(train.n_tokens)
        validation = None
        if inputs.validation is not None:
            validation = build_cache(
                inputs.validation, inputs.tokenizer, cache_folder, end_token=END_TOKEN, needed_tokens=validation_tokens
            )
    return train, validation


def _notice_repeats(plans: Sequence[MemberPlan], train: TokenCache, progress: Progress) -> None:
    longest = max(plans, key=lambda plan: plan.tokens)
    passes = longest.tokens / train.n_tokens
    if passes > 1.05:
        size = f"{train.n_documents} documents, {train.n_tokens} tokens"
        progress.notice(f"{longest.member.name} reads the corpus ({size}) {passes:.1f} times")


def _run(waiting: Sequence[Job], jobs: int, progress: Progress) -> dict[str, str]:
    """Train, with one bar over the FLOPs of all members."""
    if not waiting:
        return {}
    giga = {job.plan.member.name: job.plan.hardware_flops / job.plan.steps_computed / 1e9 for job in waiting}
    total = sum(job.plan.hardware_flops for job in waiting) / 1e9
    ended = {job.plan.member.name: False for job in waiting}
    with progress.stage("train", round(total), "GFLOP") as bar:

        def report(event: Event) -> None:
            if isinstance(event, CheckpointSaved):
                ended[event.member] = True
                return
            bar.advance(event.steps * giga[event.member])
            if event.loss is not None and event.tokens_per_second is not None and event.mfu is not None:
                bar.describe(
                    f"{event.member} loss {event.loss:.3f} {event.tokens_per_second:,.0f} tokens/s MFU {event.mfu:.0%}"
                )

        return train_all(waiting, processes=jobs, report=report)


def _saved(plan: MemberPlan, folder: Path) -> list[Path]:
    root = folder / plan.member.name
    found = [path for path in root.glob("step*") if path.name[4:].isdigit() and (path / "forecast.json").is_file()]
    return sorted(found, key=lambda path: int(path.name[4:]))
