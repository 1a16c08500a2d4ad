"""`forecast eval`: score checkpoints on benchmarks and store every item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.console import open_progress, print_json, stdout_console
from forecast.cli.options import (
    DEFAULT_DB,
    MOST_32_BIT,
    MOST_64_BIT,
    DbOption,
    JsonOption,
    QuietOption,
    check_counts,
    check_flops,
    read_counts,
    read_flops,
)
from forecast.cli.text_scores import print_text_table
from forecast.report.perplexity import with_perplexity


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate_command)


def evaluate_command(
    tasks: Annotated[
        str | None, typer.Option("--tasks", "-t", help="Tasks, groups or tags of lm-eval, comma-separated.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", help="Text file (.txt, .gz, .xz) for perplexity and bits per byte; repeatable."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Checkpoint folder or hub id[@revision]; repeatable.")
    ] = None,
    family: Annotated[str | None, typer.Option("--family", "-f", help="A family of 'forecast families'.")] = None,
    sizes: Annotated[str, typer.Option("--sizes", help="E.g. 70m..1.4b or 70m,410m; all when left out.")] = "",
    revisions: Annotated[str, typer.Option("--revisions", help="final, log:12, 1000,2000, 1000..8000 or all.")] = "final",
    subset: Annotated[str, typer.Option("--subset", help="Part of a family that has parts.")] = "",
    checkpoints: Annotated[Path, typer.Option("--checkpoints", help="Folder that 'forecast train' writes to.")] = Path(
        "checkpoints"
    ),
    trust_remote_code: Annotated[
        list[str] | None,
        typer.Option("--trust-remote-code", help="Hub id or folder whose own Python files may run; repeatable."),
    ] = None,
    cache_limit: Annotated[
        str | None, typer.Option("--cache-limit", help="Most that downloads may hold, e.g. 20GB: scored ones are deleted.")
    ] = None,
    num_fewshot: Annotated[
        int | None, typer.Option("--num-fewshot", "-k", min=0, max=MOST_32_BIT, help="Examples before each question.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, max=MOST_32_BIT, help="First items of each task only.")] = None,
    include_path: Annotated[Path | None, typer.Option("--include-path", help="Folder with lm-eval YAML tasks.")] = None,
    trust_task_code: Annotated[
        bool, typer.Option("--trust-task-code", help="Let definitions of --include-path run their own Python and templates.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Mirror of hub data sets: <hub id>/<config or default>/<split>.jsonl.gz.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("--params", callback=check_counts, help="Parameters, when no card says: one for each --model, in order."),
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option("--tokens", callback=check_counts, help="Training tokens, e.g. 1e9,2e9: one for each --model, in order."),
    ] = None,
    flops: Annotated[
        list[str] | None,
        typer.Option("--flops", callback=check_flops, help="Training FLOPs: one for each --model, in order."),
    ] = None,
    family_name: Annotated[
        str, typer.Option("--family-name", help="Family under which --model is stored; the folder above when left out.")
    ] = "",
    checkpoints_table: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints-table", help="CSV or Parquet: model (folder or hub id), family, name, params, tokens, flops, step."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16 or float64.")] = "auto",
    quantize: Annotated[
        str | None, typer.Option("--quantize", help="int8 or int4: score a quantised variant (torchao or bitsandbytes).")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    token_budget: Annotated[
        int | None, typer.Option("--token-budget", min=1, max=MOST_32_BIT, help="Positions per forward pass.")
    ] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits whatever the batch budget.")] = False,
    device_map: Annotated[str | None, typer.Option("--device-map", help="transformers' device_map, e.g. auto.")] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="native, or lm-eval:NAME,ARGS for a model of lm-eval's registry.")
    ] = "native",
    fewshot_seed: Annotated[
        int, typer.Option("--seed", min=0, max=MOST_64_BIT, help="Seed of the few-shot examples (lm-eval's default).")
    ] = 1234,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Leave items with an empty choice out (white space alone is text).")
    ] = False,
    allow_unused_weights: Annotated[
        bool,
        typer.Option("--allow-unused-weights", help="Leave tensors out that the model does not take, instead of refusing."),
    ] = False,
    db: DbOption = DEFAULT_DB,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score checkpoints on benchmarks; every item is stored, and what is stored is not computed again."""
    from forecast.api.checkpoints import backend_checkpoint, open_fetcher, select
    from forecast.core.memory_reuse import keep_freed_memory

    requests = (
        backend_checkpoint(backend)
        if backend != "native" and not (model or family or checkpoints_table)
        else select(
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
    )
    progress = open_progress(quiet=quiet)
    fetcher = open_fetcher(progress=progress, cache_limit=cache_limit, trust_remote_code=trust_remote_code or [])
    # lm-eval takes a second to import: what was asked for is checked before that.
    from forecast.api.evaluate import evaluate

    keep_freed_memory()
    report = evaluate(
        requests,
        tasks=tasks or "",
        text_files=text or [],
        db=db,
        num_fewshot=num_fewshot,
        limit=limit,
        include_path=include_path,
        trust_task_code=trust_task_code,
        data_dir=data_dir,
        dtype=dtype,
        quantize=quantize,
        device=device,
        token_budget=token_budget,
        deterministic=deterministic,
        fewshot_seed=fewshot_seed,
        skip_empty=skip_empty,
        device_map=device_map,
        backend=backend,
        fetcher=fetcher,
        progress=progress,
        allow_unused_weights=allow_unused_weights,
    )
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
