"""`forecast eval`: score checkpoints on benchmarks and store every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forecast.cli.console import open_progress, print_json, stdout_console
from forecast.cli.evaluation_options import (
    AllowUnusedWeightsOption,
    BackendOption,
    CacheLimitOption,
    ChatTemplateOption,
    CheckpointsOption,
    CheckpointsTableOption,
    DataDirOption,
    DeterministicOption,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    FamilyNameOption,
    FamilyOption,
    FewshotSeedOption,
    FlopsOption,
    GoldOnlyOption,
    IncludePathOption,
    LimitOption,
    MaxGenTokensOption,
    ModelOption,
    MultiturnOption,
    NumFewshotOption,
    ParamsOption,
    QuantizeOption,
    RevisionsOption,
    SamplesOption,
    SamplingSeedOption,
    SizesOption,
    SkipEmptyOption,
    SubsetOption,
    SystemInstructionOption,
    TasksOption,
    TemperatureOption,
    TextOption,
    TokenBudgetOption,
    TokensOption,
    TopPOption,
    TrustRemoteCodeOption,
    TrustTaskCodeOption,
)
from forecast.cli.option_groups import as_command
from forecast.cli.options import (
    DEFAULT_DB,
    DbOption,
    JsonOption,
    QuietOption,
    read_counts,
    read_flops,
    read_shots,
    split_names,
)
from forecast.cli.text_scores import print_text_table
from forecast.report.perplexity import with_perplexity

if TYPE_CHECKING:
    from forecast.api.checkpoints import Fetcher
    from forecast.api.evaluation_request import EvaluationRequest
    from forecast.core.progress import Progress
    from forecast.core.records import CheckpointRequest


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """What `forecast eval` takes."""

    tasks: TasksOption = None
    text: TextOption = None
    model: ModelOption = None
    family: FamilyOption = None
    sizes: SizesOption = ""
    revisions: RevisionsOption = "final"
    subset: SubsetOption = ""
    checkpoints: CheckpointsOption = Path("checkpoints")
    trust_remote_code: TrustRemoteCodeOption = None
    cache_limit: CacheLimitOption = None
    num_fewshot: NumFewshotOption = None
    limit: LimitOption = None
    include_path: IncludePathOption = None
    trust_task_code: TrustTaskCodeOption = False
    data_dir: DataDirOption = None
    params: ParamsOption = None
    tokens: TokensOption = None
    flops: FlopsOption = None
    family_name: FamilyNameOption = ""
    checkpoints_table: CheckpointsTableOption = None
    dtype: DtypeOption = "auto"
    quantize: QuantizeOption = None
    device: DeviceOption = "auto"
    token_budget: TokenBudgetOption = None
    deterministic: DeterministicOption = False
    device_map: DeviceMapOption = None
    backend: BackendOption = "native"
    fewshot_seed: FewshotSeedOption = 1234
    apply_chat_template: ChatTemplateOption = None
    system_instruction: SystemInstructionOption = ""
    fewshot_as_multiturn: MultiturnOption = None
    skip_empty: SkipEmptyOption = False
    samples: SamplesOption = None
    temperature: TemperatureOption = None
    top_p: TopPOption = None
    sampling_seed: SamplingSeedOption = 0
    max_gen_tokens: MaxGenTokensOption = None
    gold_only: GoldOnlyOption = False
    allow_unused_weights: AllowUnusedWeightsOption = False
    db: DbOption = DEFAULT_DB
    json_output: JsonOption = False
    quiet: QuietOption = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(as_command(evaluate_command, EvalOptions))


def evaluate_command(options: EvalOptions) -> None:
    """Score checkpoints on benchmarks; every item is stored, and what is stored is not computed again."""
    from forecast.api.checkpoints import open_fetcher

    names = split_names(options.tasks, "--tasks", required=True) or []
    checkpoints = _checkpoints(options)
    progress = open_progress(quiet=options.quiet)
    fetcher = open_fetcher(
        progress=progress, cache_limit=options.cache_limit, trust_remote_code=options.trust_remote_code or []
    )
    _evaluate(_request(options, checkpoints, names), fetcher, progress, json_output=options.json_output)


def _checkpoints(options: EvalOptions) -> list[CheckpointRequest]:
    from forecast.api.checkpoints import backend_checkpoint, select

    if options.backend != "native" and not (options.model or options.family or options.checkpoints_table):
        return backend_checkpoint(options.backend)
    return select(
        family=options.family,
        models=options.model or [],
        sizes=options.sizes,
        revisions=options.revisions,
        subset=options.subset,
        checkpoints=options.checkpoints,
        params=read_counts(options.params),
        tokens=read_counts(options.tokens),
        flops=read_flops(options.flops),
        keep_missing=True,
        family_name=options.family_name,
        table=options.checkpoints_table,
    )


def _request(options: EvalOptions, checkpoints: list[CheckpointRequest], tasks: list[str]) -> EvaluationRequest:
    # It imports how tasks are written out: what was asked for is checked before that.
    from forecast.api.evaluation_request import EvaluationRequest

    return EvaluationRequest(
        checkpoints=checkpoints,
        tasks=tasks,
        db=options.db,
        text_files=options.text or [],
        num_fewshot=read_shots(options.num_fewshot),
        limit=options.limit,
        include_path=options.include_path,
        trust_task_code=options.trust_task_code,
        data_dir=options.data_dir,
        dtype=options.dtype,
        device=options.device,
        token_budget=options.token_budget,
        deterministic=options.deterministic,
        fewshot_seed=options.fewshot_seed,
        apply_chat_template=False if options.apply_chat_template is None else options.apply_chat_template or True,
        system_instruction=options.system_instruction,
        fewshot_as_multiturn=options.fewshot_as_multiturn,
        skip_empty=options.skip_empty,
        samples=options.samples,
        temperature=options.temperature,
        top_p=options.top_p,
        sampling_seed=options.sampling_seed,
        max_gen_tokens=options.max_gen_tokens,
        gold_only=options.gold_only,
        device_map=options.device_map,
        backend=options.backend,
        quantize=options.quantize,
        allow_unused_weights=options.allow_unused_weights,
    )


def _evaluate(request: EvaluationRequest, fetcher: Fetcher, progress: Progress, *, json_output: bool) -> None:
    from forecast.core.memory_reuse import keep_freed_memory, loading

    with loading():
        from forecast.api.evaluate import evaluate

    keep_freed_memory()
    report = evaluate(request, fetcher=fetcher, progress=progress)
    if json_output:
        print_json(with_perplexity(report.rows))
    else:
        _print_table([row for row in report.rows if row.get("output_type") != "loglikelihood_rolling"])
        print_text_table([row for row in report.rows if row.get("output_type") == "loglikelihood_rolling"])
    for line in report.missing:
        progress.notice(line)
    report.raise_failures()


def _print_table(rows: Sequence[dict[str, object]]) -> None:
    from rich.table import Table

    if not rows:
        return

    columns = [name for name in _COLUMNS if name not in _OF_ANSWERS or any(row.get(name) is not None for row in rows)]
    table = Table(*(_HEADINGS.get(name, name) for name in columns))
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    stdout_console().print(table)


_COLUMNS = (
    "model",
    "revision",
    "task",
    "num_fewshot",
    "n_items",
    "acc",
    "acc_norm",
    "exact_match",
    "pass_rate",
    "nll_per_char",
    "tokens_computed",
    "seconds",
)
_OF_ANSWERS = ("exact_match", "pass_rate")
"""Shown where a task has generated answers."""
_HEADINGS = {"num_fewshot": "shots", "n_items": "items", "tokens_computed": "tokens computed"}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
