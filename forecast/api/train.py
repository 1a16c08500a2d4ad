"""Trains a family from its card, cheapest member first, skipping what is done: the workflow behind `forecast train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.training import TrainingRecipe, read_recipe
from forecast.core.checkpoint_note import read_note
from forecast.core.errors import ForecastError, InputError, PartialResultError, UsageError
from forecast.core.progress import Progress, SilentProgress
from forecast.training.architecture import padded_vocabulary
from forecast.training.events import CheckpointSaved, Event
from forecast.training.machine import Machine, look_at_machine, measure_matmul_rate, settle_settings, wants_bfloat16
from forecast.training.member import is_trained
from forecast.training.plan import MemberPlan, plan_member
from forecast.training.settings import MemberInputs, is_first_process
from forecast.training.side_by_side import Job, train_all
from forecast.training.token_cache import TokenCache, build_cache, load_tokenizer_file

END_TOKEN = "<|endoftext|>"
_STATE_EVERY_SECONDS = 60.0
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
class TrainingReport:
    """What a training left behind."""

    folder: Path
    checkpoints: tuple[Path, ...]
    """Complete checkpoints of the family, earlier ones included."""
    skipped: tuple[str, ...]
    """Members that were trained already."""
    failures: dict[str, str]
    """Member -> what went wrong."""
    observations: int
    """Validation losses handed to the store."""

    def raise_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            PartialResultError: some members failed, others are trained.
            ForecastError: none is trained.
        """
        if not self.failures:
            return
        text = "; ".join(f"{member}: {error}" for member, error in self.failures.items())
        if not self.checkpoints:
            raise ForecastError(text)
        raise PartialResultError(f"{len(self.failures)} member(s) failed, the others are trained: {text}")


def estimate_family(
    card: Path, inputs: TrainingInputs | None, *, folder: Path, seed: int | None = None, members: Sequence[str] = ()
) -> list[MemberEstimate]:
    """Say what training would take on this machine, without training; the corpus is not read.

    Raises:
        InputError: the card or the tokenizer is malformed.
    """
    recipe = _select(read_recipe(card), members)
    tokenizer = None if inputs is None else inputs.tokenizer
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


def train_family(
    card: Path,
    inputs: TrainingInputs,
    *,
    folder: Path,
    db: Path | None = None,
    seed: int | None = None,
    members: Sequence[str] = (),
    jobs: int = 1,
    threads: int | None = None,
    largest_first: bool = False,
    device: str = "auto",
    state_every_seconds: float = _STATE_EVERY_SECONDS,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train every member of the card that is not trained yet.

    Args:
        card: family card with a `training:` block.
        inputs: corpus, tokenizer, validation text.
        folder: receives `<member>/step<N>` checkpoint folders and the token cache.
        db: results file that the validation losses go to; None keeps them in the checkpoints' notes only.
        seed: of weights and data order; None takes the card's.
        members: names to train; empty for all.
        jobs: members trained side by side (CPU only).
        threads: CPU threads per member; None shares the cores among the jobs. The same number gives the same weights.
        largest_first: start with the most expensive member, which ends a side-by-side training sooner.
        device: auto, cpu or cuda.
        state_every_seconds: how much work a kill may cost.
        progress: where bars and notices go.

    Raises:
        InputError: card, corpus or tokenizer are malformed, or a member fits nowhere.
        UsageError: a member's name is unknown.
    """
    progress = progress or SilentProgress()
    whole = read_recipe(card)
    recipe = _select(whole, members)
    machine = look_at_machine(device)
    jobs = 1 if machine.device == "cuda" or machine.processes > 1 else max(1, jobs)
    threads = threads or max(1, machine.cores // jobs)
    # Of all members: the order of the data must not depend on which of them are trained first.
    needed = max(plan.tokens for plan in _plan_all(whole, inputs.tokenizer, seed=seed, data_hash=""))
    train, validation = _tokenise(inputs, folder, needed, recipe.validation_tokens, machine, progress)
    plans = _plan_all(recipe, inputs.tokenizer, seed=seed, data_hash=train.data_hash)
    _notice_repeats(plans, train, progress)
    rate = measure_matmul_rate(machine, threads=threads, bfloat16=wants_bfloat16(recipe, machine))
    member_inputs = MemberInputs(train=train, validation=validation, tokenizer=inputs.tokenizer, folder=folder)
    plans_in_order = sorted(plans, key=lambda plan: plan.hardware_flops, reverse=largest_first)
    waiting, skipped, failures = _settle_jobs(
        plans_in_order,
        member_inputs,
        machine,
        threads=threads,
        jobs=jobs,
        peak_flops_per_second=rate,
        state_every_seconds=state_every_seconds,
    )
    failures |= _run(waiting, jobs, progress)
    checkpoints = tuple(path for plan in plans for path in _saved(plan, folder))
    stored = _store_losses(checkpoints, inputs, recipe, db) if db is not None and is_first_process() else 0
    return TrainingReport(
        folder=folder, checkpoints=checkpoints, skipped=tuple(skipped), failures=failures, observations=stored
    )


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


def _select(recipe: TrainingRecipe, members: Sequence[str]) -> TrainingRecipe:
    if not members:
        return recipe
    from dataclasses import replace

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


def _store_losses(checkpoints: Sequence[Path], inputs: TrainingInputs, recipe: TrainingRecipe, db: Path) -> int:
    """Make each checkpoint's validation loss an observation; its task is the validation text's name."""
    if inputs.validation is None:
        return 0
    from forecast.core.observation_rows import ObservationRow
    from forecast.store import Store

    rows = []
    for path in checkpoints:
        note = read_note(path)
        if note is None or note.validation_loss is None:
            continue
        fraction = note.metadata.get("lr_fraction")
        rows.append(
            ObservationRow(
                family=note.family,
                model=note.model,
                task=inputs.validation.name.split(".txt")[0].removesuffix(".parquet"),
                metrics={"loss": note.validation_loss},
                step=note.step,
                params=note.params,
                params_non_embedding=note.params_non_embedding,
                tokens=note.tokens,
                flops=note.flops,
                flops_convention=note.flops_convention,
                is_final=note.is_final,
                lr_fraction=float(fraction) if isinstance(fraction, int | float) else None,
            )
        )
    if rows:
        Store(db).add_observations(rows, source=f"forecast train {recipe.family}")
    return len(rows)
