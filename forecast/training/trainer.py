"""The Trainer of one phase: fixed sample order, own schedule, restart states, checkpoints, a loss that must stay finite."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from forecast.core.errors import CheckpointError
from forecast.training.checkpoints import kept_folder, save_checkpoint
from forecast.training.events import CheckpointSaved, Report, StepsDone
from forecast.training.packed_sequences import PackedSequences
from forecast.training.phases import COMPLETE_MARK, Phase, state_step
from forecast.training.plan import MemberPlan, learning_rate_fraction
from forecast.training.settings import MemberInputs, TrainingSettings, is_first_process
from forecast.training.validation_loss import measure_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState

_REPORT_EVERY_SECONDS = 0.5


class PhaseTrainer(Trainer):
    """Trainer that reads samples in order and keeps each step's loss on the device until it is asked for."""

    def __init__(
        self, *, plan: MemberPlan, phase: Phase, model: PreTrainedModel, args: TrainingArguments, data: PackedSequences
    ) -> None:
        """Hand the model and data to the base class."""
        self._plan = plan
        self._phase = phase
        self.step_loss: torch.Tensor | None = None
        super().__init__(model=model, args=args, train_dataset=data)

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Follow the card's schedule, whose length is the whole run's and not this phase's."""
        plan, branch = self._plan, self._phase.branch

        def fraction(step: int) -> float:
            return learning_rate_fraction(plan.recipe.schedule, branch, plan.steps, step)

        self.lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, fraction)
        return self.lr_scheduler

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write a restart state's weights under the names that loading it expects.

        `save_pretrained` renames to the published format and the Trainer loads without renaming back, so an untied output
        matrix would silently start anew (https://github.com/huggingface/transformers/issues/43701).
        """
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            model.save_pretrained(output_dir or self.args.output_dir, save_original_format=False)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a restart state that lacks weights, tied ones aside.

        Raises:
            CheckpointError: it does.
        """
        tied = set(self.model.all_tied_weights_keys) if self.model is not None else set()
        missing = sorted(set(load_result.missing_keys) - tied)
        if missing or load_result.unexpected_keys:
            raise CheckpointError(
                f"a restart state of '{self._plan.member.name}' lacks {', '.join(missing) or 'nothing'} and has the unknown "
                f"{', '.join(load_result.unexpected_keys) or 'nothing'}",
                expected="the member's weights",
                remedy="delete the member's .state folder and train it again",
            )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Add this micro-batch's share to the step's loss."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.step_loss = loss if self.step_loss is None else self.step_loss + loss
        return loss


class _Watcher(TrainerCallback):
    """Reports, logs, saves checkpoints, asks for restart states, and stops a run whose loss is lost."""

    def __init__(
        self, plan: MemberPlan, inputs: MemberInputs, settings: TrainingSettings, report: Report, phase: Phase, start: int
    ) -> None:
        self.trainer: PhaseTrainer | None = None
        self._plan = plan
        self._inputs = inputs
        self._settings = settings
        self._report = report
        self._phase = phase
        self._is_main = is_first_process()
        self._log_path = kept_folder(plan, inputs.folder) / "loss.jsonl"
        self._lines: list[str] = []
        self._reported_step = self._rate_step = start
        self._reported_at = self._rate_at = self._state_at = time.monotonic()
        self._checkpoint_steps = frozenset(plan.checkpoint_steps) if phase.branch.end == plan.steps else frozenset()
        if self._is_main:
            _cut_log(self._log_path, phase.name, start)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look at the loss now and then; everything that is kept comes after such a look."""
        step = int(state.global_step)
        is_end = step >= self._phase.end
        keep = step in self._checkpoint_steps and not is_end
        loss = self._collect_loss(step, force=is_end or keep)
        if loss is None:
            return
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_EVERY_SECONDS or is_end:
            self._send(step, loss, now)
        if keep:
            self.save(step, is_final=False)
        # Every process must decide alike, so with several of them steps are counted instead of seconds.
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        due = step % 500 == 0 if several else now - self._state_at >= self._settings.state_every_seconds
        if (due and not is_end) or (is_end and not self._phase.is_branch_end):
            self._write_log()
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the restart state as complete; older ones are deleted by the Trainer."""
        if self._is_main:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE_MARK).touch()
        self._state_at = time.monotonic()

    def finish(self, step: int) -> None:
        """Save the end of the phase."""
        self._write_log()
        if self._phase.is_branch_end:
            self.save(step, is_final=True)

    def save(self, step: int, *, is_final: bool) -> None:
        """Measure the validation loss and write a checkpoint folder (first process only)."""
        trainer = self.trainer
        if trainer is None or not self._is_main:
            return
        model = trainer.accelerator.unwrap_model(trainer.model)
        loss = measure_loss(model, self._inputs.validation, self._plan, self._settings)
        fraction = learning_rate_fraction(self._plan.recipe.schedule, self._phase.branch, self._plan.steps, step)
        path = save_checkpoint(
            model,
            self._plan,
            self._inputs.folder,
            step=step,
            is_final=is_final,
            lr_fraction=fraction,
            validation_loss=loss,
            tokenizer=self._inputs.tokenizer,
        )
        self._report(CheckpointSaved(member=self._plan.member.name, folder=str(path), step=step, validation_loss=loss))

    def _collect_loss(self, step: int, *, force: bool) -> float | None:
        """Return the step's loss when it is time to look at it.

        Raises:
            CheckpointError: it is NaN or infinite.
        """
        trainer = self.trainer
        if trainer is None or trainer.step_loss is None:
            return None
        held, trainer.step_loss = trainer.step_loss, None
        if not force and step % self._settings.log_every_steps:
            return None
        loss = float(held.detach())
        if not math.isfinite(loss):
            raise CheckpointError(
                f"member '{self._plan.member.name}': the loss became {loss} at step {step}",
                expected="a finite loss",
                remedy=f"lower its learning rate ({self._plan.learning_rate:.2g}) in the card; what was saved before is kept",
            )
        rate = learning_rate_fraction(self._plan.recipe.schedule, self._phase.branch, self._plan.steps, step - 1)
        entry = {"phase": self._phase.name, "step": step, "loss": loss, "learning_rate": rate * self._plan.learning_rate}
        self._lines.append(json.dumps(entry))
        return loss

    def _send(self, step: int, loss: float, now: float) -> None:
        seconds = max(1e-9, now - self._rate_at)
        steps = step - self._rate_step
        rate = steps * self._plan.tokens_per_step / seconds
        flops = steps * self._plan.hardware_flops / self._plan.steps_computed / seconds
        self._report(
            StepsDone(
                member=self._plan.member.name,
                steps=step - self._reported_step,
                loss=loss,
                tokens_per_second=rate,
                mfu=flops / self._settings.peak_flops_per_second,
            )
        )
        self._reported_step, self._reported_at = step, now
        self._rate_step, self._rate_at = step, now

    def _write_log(self) -> None:
        if self._is_main and self._lines:
            with self._log_path.open("a", encoding="utf-8") as handle:
                handle.write("\n".join(self._lines) + "\n")
        self._lines = []


def _cut_log(path: Path, phase: str, start: int) -> None:
    """Drop what a killed run logged of this phase after the state that training goes on from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [json.dumps(entry) for entry in entries if entry["phase"] != phase or entry["step"] <= start]
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def run_phase(
    plan: MemberPlan,
    inputs: MemberInputs,
    settings: TrainingSettings,
    report: Report,
    *,
    phase: Phase,
    model: PreTrainedModel,
    resume: Path | None,
    state_folder: Path,
) -> None:
    """Train `model` from `resume` (or from scratch) to the phase's end, and save what it ends in."""
    transformers_logging.disable_progress_bar()
    start = state_step(resume) if resume is not None else 0
    data = PackedSequences(
        inputs.train,
        context_length=plan.recipe.context_length,
        samples=plan.steps * plan.batch_sequences,
        seed=plan.seed,
    )
    watcher = _Watcher(plan, inputs, settings, report, phase, start)
    trainer = PhaseTrainer(plan=plan, phase=phase, model=model, args=_arguments(plan, settings, phase, state_folder), data=data)
    watcher.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watcher)
    with warnings.catch_warnings():
        # torch 2.13 warns that a LambdaLR restored after the optimiser was stepped "skips the first value"; it does not here.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        if start < phase.end:
            trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    watcher.finish(phase.end)
    trainer.accelerator.wait_for_everyone()


def _arguments(plan: MemberPlan, settings: TrainingSettings, phase: Phase, state_folder: Path) -> TrainingArguments:
    recipe = plan.recipe
    arguments = TrainingArguments(
        output_dir=str(state_folder),
        per_device_train_batch_size=settings.micro_sequences,
        gradient_accumulation_steps=settings.accumulation,
        max_steps=phase.end,
        learning_rate=plan.learning_rate,
        weight_decay=recipe.weight_decay,
        adam_beta1=0.9,
        adam_beta2=recipe.beta2,
        max_grad_norm=recipe.clip_norm,
        optim="adamw_torch_fused" if settings.use_cuda else "adamw_torch",
        bf16=settings.bfloat16,
        torch_compile=settings.compile,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=1,
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=plan.seed,
        use_cpu=not settings.use_cuda,
        dataloader_num_workers=0,
        dataloader_drop_last=True,
        dataloader_pin_memory=settings.use_cuda,
        remove_unused_columns=False,
        log_level="error",
    )
    # One process trains on one device. Left alone, transformers takes every GPU that it sees and multiplies the batch by their
    # number, and the member is no longer the planned one.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments
