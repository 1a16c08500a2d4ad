"""`forecast train`: train an in-house family from its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.console import open_progress, print_json, stdout_console
from forecast.cli.option_groups import as_command
from forecast.cli.options import (
    DEFAULT_DB,
    MOST_32_BIT,
    DbOption,
    JsonOption,
    QuietOption,
    check_finite,
    split_names,
)
from forecast.cli.outputs import check_folder
from forecast.core.errors import UsageError

if TYPE_CHECKING:
    from forecast.api.train import MemberEstimate


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `forecast train` takes."""

    family: Annotated[str, typer.Argument(help="Family with a `training:` block, or the path of its card.")]
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Text (.txt, .gz, .xz; <|endoftext|> lines between documents) or Parquet.")
    ] = None
    tokenizer: Annotated[Path | None, typer.Option("--tokenizer", help="Folder with tokenizer.json.")] = None
    validation: Annotated[Path | None, typer.Option("--validation", help="Held-out text; its loss is stored.")] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", callback=check_folder, help="Folder for checkpoints.", show_default="checkpoints/FAMILY"
        ),
    ] = None
    members: Annotated[str | None, typer.Option("--members", help="Members to train, comma-separated; all when left out.")] = (
        None
    )
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of weights and data order; the card's if not given."),
    ] = None
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=MOST_32_BIT, help="Members trained side by side on the CPU.")] = 1
    threads: Annotated[int | None, typer.Option("--threads", min=1, max=MOST_32_BIT, help="CPU threads per member.")] = None
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto"
    save_every: Annotated[
        float,
        typer.Option(
            "--save-every", min=1, callback=check_finite, help="Seconds between restart states: a kill costs no more."
        ),
    ] = 60.0
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print sizes, tokens, FLOPs, memory and time; train nothing.")] = (
        False
    )
    db: DbOption = DEFAULT_DB
    json_output: JsonOption = False
    quiet: QuietOption = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="train")(as_command(train_command, TrainOptions))


def train_command(options: TrainOptions) -> None:
    """Train a family from its card, cheapest member first; finished members are skipped, interrupted ones continue."""
    from forecast.api.exchange import estimate_training, train

    chosen = split_names(options.members, "--members") or []
    if options.dry_run:
        estimates = estimate_training(
            options.family, tokenizer=options.tokenizer, folder=options.output, seed=options.seed, members=chosen
        )
        if options.json_output:
            print_json(estimates)
        else:
            _print_estimates(estimates)
        return
    if options.corpus is None or options.tokenizer is None:
        raise UsageError("no corpus or no tokenizer", expected="--corpus FILE and --tokenizer FOLDER", remedy="or --dry-run")
    report = train(
        options.family,
        corpus=options.corpus,
        tokenizer=options.tokenizer,
        validation=options.validation,
        folder=options.output,
        db=options.db,
        seed=options.seed,
        members=chosen,
        jobs=options.jobs,
        threads=options.threads,
        device=options.device,
        state_every_seconds=options.save_every,
        progress=open_progress(quiet=options.quiet),
    )
    if options.json_output:
        print_json(report)
    else:
        stdout_console().say(
            f"{len(report.checkpoints)} checkpoints in {report.folder} ({len(report.skipped)} members were trained already)"
        )
    report.raise_failures()


def _print_estimates(estimates: Sequence[MemberEstimate]) -> None:
    from rich.table import Table

    table = Table("member", "params", "non-embedding", "tokens", "steps", "batch", "peak lr", "FLOPs", "memory", "time", "done")
    for entry in estimates:
        table.add_row(
            entry.member,
            f"{entry.params:,}",
            f"{entry.params_non_embedding:,}",
            f"{entry.tokens:,}",
            f"{entry.steps:,}",
            f"{entry.tokens_per_step:,}",
            f"{entry.learning_rate:.2e}",
            f"{entry.flops:.2e}",
            f"{entry.memory_bytes / 2**20:,.0f} MiB",
            _duration(entry.seconds),
            "yes" if entry.done else "no",
        )
    stdout_console().print(table)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
