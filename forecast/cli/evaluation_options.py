"""Options of `forecast eval`: what each is called, takes and does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.options import MOST_32_BIT, check_counts, check_finite, check_flops, check_shots

TasksOption = Annotated[str | None, typer.Option("--tasks", "-t", help="Tasks, groups or tags of lm-eval, comma-separated.")]
TextOption = Annotated[
    list[Path] | None,
    typer.Option("--text", help="Text file (.txt, .gz, .xz) for perplexity and bits per byte; repeatable."),
]
ModelOption = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="Checkpoint folder or hub id[@revision]; repeatable.")
]
FamilyOption = Annotated[str | None, typer.Option("--family", "-f", help="A family of 'forecast families'.")]
SizesOption = Annotated[str, typer.Option("--sizes", help="E.g. 70m..1.4b or 70m,410m; all when left out.")]
RevisionsOption = Annotated[str, typer.Option("--revisions", help="final, log:12, 1000,2000, 1000..8000 or all.")]
SubsetOption = Annotated[str, typer.Option("--subset", help="Part of a family that has parts.")]
CheckpointsOption = Annotated[Path, typer.Option("--checkpoints", help="Folder that 'forecast train' writes to.")]
TrustRemoteCodeOption = Annotated[
    list[str] | None,
    typer.Option("--trust-remote-code", help="Hub id or folder whose own Python files may run; repeatable."),
]
CacheLimitOption = Annotated[
    str | None, typer.Option("--cache-limit", help="Most that downloads may hold, e.g. 20GB: scored ones are deleted.")
]
NumFewshotOption = Annotated[
    str | None,
    typer.Option(
        "--num-fewshot",
        "-k",
        callback=check_shots,
        metavar="K[,K...]",
        help="Examples before each question; several numbers, e.g. 0,5,25, are one sweep.",
    ),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, max=MOST_32_BIT, help="First items of each task only.")]
IncludePathOption = Annotated[Path | None, typer.Option("--include-path", help="Folder with lm-eval YAML tasks.")]
TrustTaskCodeOption = Annotated[
    bool, typer.Option("--trust-task-code", help="Let definitions of --include-path run their own Python and templates.")
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Mirror of hub data sets: <hub id>/<config or default>/<split>.jsonl.gz.")
]
ParamsOption = Annotated[
    list[str] | None,
    typer.Option("--params", callback=check_counts, help="Parameters, when no card says: one for each --model, in order."),
]
TokensOption = Annotated[
    list[str] | None,
    typer.Option("--tokens", callback=check_counts, help="Training tokens, e.g. 1e9,2e9: one for each --model, in order."),
]
FlopsOption = Annotated[
    list[str] | None,
    typer.Option("--flops", callback=check_flops, help="Training FLOPs: one for each --model, in order."),
]
FamilyNameOption = Annotated[
    str, typer.Option("--family-name", help="Family under which --model is stored; the folder above when left out.")
]
CheckpointsTableOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoints-table", help="CSV or Parquet: model (folder or hub id), family, name, params, tokens, flops, step."
    ),
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16 or float64.")]
QuantizeOption = Annotated[
    str | None, typer.Option("--quantize", help="int8 or int4: score a quantised variant (torchao or bitsandbytes).")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
TokenBudgetOption = Annotated[
    int | None, typer.Option("--token-budget", min=1, max=MOST_32_BIT, help="Positions per forward pass.")
]
DeterministicOption = Annotated[bool, typer.Option("--deterministic", help="The same bits whatever the batch budget.")]
DeviceMapOption = Annotated[str | None, typer.Option("--device-map", help="transformers' device_map, e.g. auto.")]
BackendOption = Annotated[
    str, typer.Option("--backend", help="native, or lm-eval:NAME,ARGS for a model of lm-eval's registry.")
]
FewshotSeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the few-shot examples (lm-eval's default).")]
ChatTemplateOption = Annotated[
    str | None,
    typer.Option(
        "--apply-chat-template",
        metavar="[NAME]",
        help="Write prompts by each checkpoint's own chat template, or by the named one of several.",
    ),
]
SystemInstructionOption = Annotated[
    str, typer.Option("--system-instruction", help="Text before every prompt: the system's message of a chat template.")
]
MultiturnOption = Annotated[
    bool | None,
    typer.Option(
        "--fewshot-as-multiturn/--no-fewshot-as-multiturn",
        help="Examples as turns of their own, or in one message; with a chat template turns, unless said.",
        show_default=False,
    ),
]
SkipEmptyOption = Annotated[
    bool, typer.Option("--skip-empty", help="Leave items with an empty choice out (white space alone is text).")
]
AllowUnusedWeightsOption = Annotated[
    bool,
    typer.Option("--allow-unused-weights", help="Leave tensors out that the model does not take, instead of refusing."),
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, max=MOST_32_BIT, help="Answers drawn for each item of generated tasks.")
]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", callback=check_finite, help="Of generated answers; 0 is greedy; each task's own by default."),
]
TopPOption = Annotated[
    float | None,
    typer.Option("--top-p", callback=check_finite, help="Share of the probability to draw from, with --temperature."),
]
SamplingSeedOption = Annotated[int, typer.Option("--sampling-seed", min=0, help="Seed of drawn answers.")]
MaxGenTokensOption = Annotated[
    int | None,
    typer.Option("--max-gen-tokens", min=1, max=MOST_32_BIT, help="Most tokens of an answer; each task's own unless said."),
]
GoldOnlyOption = Annotated[
    bool, typer.Option("--gold-only", help="Of generated tasks, measure the gold answers' likelihood and write no answers.")
]
