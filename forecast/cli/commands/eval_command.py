"""`forecast eval`: score checkpoints on benchmarks and store every item."""

from __future__ import annotations

from collections.abc import Sequence
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
    IncludePathOption,
    LimitOption,
    ModelOption,
    MultiturnOption,
    NumFewshotOption,
    ParamsOption,
    QuantizeOption,
    RevisionsOption,
    SizesOption,
    SkipEmptyOption,
    SubsetOption,
    SystemInstructionOption,
    TasksOption,
    TextOption,
    TokenBudgetOption,
    TokensOption,
    TrustRemoteCodeOption,
    TrustTaskCodeOption,
)
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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate_command)


def evaluate_command(
    tasks: TasksOption = None,
    text: TextOption = None,
    model: ModelOption = None,
    family: FamilyOption = None,
    sizes: SizesOption = "",
    revisions: RevisionsOption = "final",
    subset: SubsetOption = "",
    checkpoints: CheckpointsOption = Path("checkpoints"),
    trust_remote_code: TrustRemoteCodeOption = None,
    cache_limit: CacheLimitOption = None,
    num_fewshot: NumFewshotOption = None,
    limit: LimitOption = None,
    include_path: IncludePathOption = None,
    trust_task_code: TrustTaskCodeOption = False,
    data_dir: DataDirOption = None,
    params: ParamsOption = None,
    tokens: TokensOption = None,
    flops: FlopsOption = None,
    family_name: FamilyNameOption = "",
    checkpoints_table: CheckpointsTableOption = None,
    dtype: DtypeOption = "auto",
    quantize: QuantizeOption = None,
    device: DeviceOption = "auto",
    token_budget: TokenBudgetOption = None,
    deterministic: DeterministicOption = False,
    device_map: DeviceMapOption = None,
    backend: BackendOption = "native",
    fewshot_seed: FewshotSeedOption = 1234,
    apply_chat_template: ChatTemplateOption = None,
    system_instruction: SystemInstructionOption = "",
    fewshot_as_multiturn: MultiturnOption = None,
    skip_empty: SkipEmptyOption = False,
    allow_unused_weights: AllowUnusedWeightsOption = False,
    db: DbOption = DEFAULT_DB,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score checkpoints on benchmarks; every item is stored, and what is stored is not computed again."""
    from forecast.api.checkpoints import backend_checkpoint, open_fetcher, select

    names = split_names(tasks, "--tasks", required=True) or []
    if backend != "native" and not (model or family or checkpoints_table):
        requests = backend_checkpoint(backend)
    else:
        requests = select(
            family=family,
            models=model or [],
            sizes=sizes,
            revisions=revisions,
            subset=subset,
            checkpoints=checkpoints,
            params=read_counts(params),
            tokens=read_counts(tokens),
            flops=read_flops(flops),
            keep_missing=True,
            family_name=family_name,
            table=checkpoints_table,
        )
    progress = open_progress(quiet=quiet)
    fetcher = open_fetcher(progress=progress, cache_limit=cache_limit, trust_remote_code=trust_remote_code or [])
    # It imports how tasks are written out: what was asked for is checked before that.
    from forecast.api.evaluation_request import EvaluationRequest

    request = EvaluationRequest(
        checkpoints=requests,
        tasks=names,
        db=db,
        text_files=text or [],
        num_fewshot=read_shots(num_fewshot),
        limit=limit,
        include_path=include_path,
        trust_task_code=trust_task_code,
        data_dir=data_dir,
        dtype=dtype,
        device=device,
        token_budget=token_budget,
        deterministic=deterministic,
        fewshot_seed=fewshot_seed,
        apply_chat_template=False if apply_chat_template is None else apply_chat_template or True,
        system_instruction=system_instruction,
        fewshot_as_multiturn=fewshot_as_multiturn,
        skip_empty=skip_empty,
        device_map=device_map,
        backend=backend,
        quantize=quantize,
        allow_unused_weights=allow_unused_weights,
    )
    _evaluate(request, fetcher, progress, json_output=json_output)


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

    table = Table(
        "model", "revision", "task", "shots", "items", "acc", "acc_norm", "nll_per_char", "tokens computed", "seconds"
    )
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in _COLUMNS))
    stdout_console().print(table)


_COLUMNS = (
    "model",
    "revision",
    "task",
    "num_fewshot",
    "n_items",
    "acc",
    "acc_norm",
    "nll_per_char",
    "tokens_computed",
    "seconds",
)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
