"""What is asked of an evaluation, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import UsageError
from forecast.core.records import CheckpointRequest
from forecast.evaluation.tasks import RenderingSettings, check_shots
from forecast.scoring.chat_templates import ChatSettings
from forecast.scoring.decoding import SamplingSettings
from forecast.scoring.rendering import LM_EVAL_FEWSHOT_SEED


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """Which checkpoints answer which tasks, how, and where the answers go."""

    checkpoints: Sequence[CheckpointRequest]
    """Each a local folder or a hub id."""
    tasks: Sequence[str] | str
    """lm-eval task, group or tag names; a text is a comma-separated list of them."""
    db: Path
    """Results file."""
    text_files: Sequence[Path] = ()
    """UTF-8 text files (.txt, .gz, .xz), each a task `text:STEM` of rolling loglikelihoods, one item per document."""
    num_fewshot: int | Sequence[int] | None = None
    """Examples before each question; of several numbers, each is an evaluation of its own, planned together. None leaves each
    task's own number."""
    limit: int | None = None
    """First items of each task only."""
    include_path: Path | None = None
    """Folder with lm-eval YAML tasks: text and sandboxed templates, no code of their own."""
    trust_task_code: bool = False
    """Let definitions of `include_path` run code of their own, as lm-eval does."""
    data_dir: Path | None = None
    """Local mirror of hub data sets, `<hub id>/<config or default>/<split>.jsonl.gz`."""
    dtype: str = "auto"
    """Of weights and activations; `auto` is float32 on the CPU and bfloat16 on CUDA."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    token_budget: int | None = None
    """Positions per forward pass; None chooses."""
    deterministic: bool = False
    """The same bits whatever the batch budget, at the price of sharing."""
    fewshot_seed: int = LM_EVAL_FEWSHOT_SEED
    """Seed of the examples' draw."""
    apply_chat_template: bool | str = False
    """Write prompts by the chat template of each checkpoint's tokenizer; a text names one of several templates."""
    system_instruction: str = ""
    """Put before every prompt: as the system's message with a chat template, else as text."""
    fewshot_as_multiturn: bool | None = None
    """Whether examples are turns of their own; None: with a chat template they are, as in lm-eval."""
    skip_empty: bool = False
    """Leave items with an empty choice out instead of refusing the task; a choice of white space alone has a length and is
    scored, as lm-eval does."""
    device_map: str | None = None
    """transformers' `device_map`, for models larger than one GPU."""
    backend: str = "native"
    """`native`, or `lm-eval:NAME,ARGS` to send the requests through a model of lm-eval's registry."""
    quantize: str | None = None
    """`int8` or `int4` (or e.g. `int8-torchao`): score a quantised variant, kept as a member of its own."""
    allow_unused_weights: bool = False
    """Leave out tensors of the files that the model does not take, instead of refusing the checkpoint."""

    samples: int | None = None
    """Answers drawn for each item of generated tasks; None takes what each task asks for."""
    temperature: float | None = None
    """Of generated answers; 0 is greedy, None takes each task's own."""
    top_p: float | None = None
    """Share of the probability that is drawn from, with `temperature`."""
    sampling_seed: int = 0
    """Seed of drawn answers."""
    max_gen_tokens: int | None = None
    """Most tokens of an answer; None takes each task's own limit, else 256."""
    gold_only: bool = False
    """Measure the likelihood of generated tasks' gold answers alone."""

    @property
    def sampling(self) -> SamplingSettings:
        """How answers are drawn.

        Raises:
            UsageError: what cannot be drawn.
        """
        asked = SamplingSettings(
            samples=self.samples,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.sampling_seed,
            max_new_tokens=self.max_gen_tokens,
        )
        if self.gold_only and not asked.is_default:
            raise UsageError("`gold_only=` beside settings of generated answers", expected="one of them")
        return asked

    @property
    def rendering(self) -> RenderingSettings:
        """How the tasks are written out.

        Raises:
            UsageError: a number of examples that cannot be meant.
        """
        shots = check_shots(self.num_fewshot)
        return RenderingSettings(
            num_fewshot=shots[0] if len(shots) == 1 else None,
            sweep=shots if len(shots) > 1 else (),
            limit=self.limit,
            fewshot_seed=self.fewshot_seed,
            skip_empty=self.skip_empty,
            data_dir=self.data_dir,
            trust_code=self.trust_task_code,
            chat=self._chat(),
        )

    def _chat(self) -> ChatSettings:
        applied = self.apply_chat_template
        if self.fewshot_as_multiturn and applied is False:
            raise UsageError(
                "`fewshot_as_multiturn=` makes turns of a chat, and no chat template is applied",
                expected="`apply_chat_template=` beside it",
            )
        return ChatSettings(
            template=None if applied is False else "" if applied is True else applied,
            system_instruction=self.system_instruction or "",
            as_multiturn=applied is not False and self.fewshot_as_multiturn is not False,
        )
