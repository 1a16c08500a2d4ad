"""Sends the same requests through any model of lm-eval's registry: vllm, sglang, API servers, or its own `hf` and `dummy`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

from forecast.core.errors import CheckpointError, UsageError
from forecast.core.nearest import did_you_mean
from forecast.scoring.decoding import Decoding
from forecast.scoring.requests import TextRequest

PREFIX = "lm-eval:"
_LOCAL_BACKENDS = frozenset({"hf", "hf-auto", "huggingface", "vllm", "sglang", "hf-multimodal", "mamba_ssm"})
"""Backends that load a checkpoint folder given as `pretrained`."""
_REQUESTS_PER_CALL = 512


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """`lm-eval:NAME,ARGS` taken apart."""

    name: str
    arguments: str

    @property
    def label(self) -> str:
        """How runs of this backend are marked."""
        return PREFIX + self.name

    @property
    def loads_folders(self) -> bool:
        """Whether the backend is given the checkpoint's folder (unless its arguments name a model already)."""
        return self.name in _LOCAL_BACKENDS and "pretrained=" not in self.arguments


@dataclass(frozen=True, kw_only=True)
class BackendScore:
    """One request's answer. `n_tokens` is 0 where the backend does not say how it cuts text."""

    index: int
    loglikelihood: float
    is_greedy: bool
    n_tokens: int


def parse_backend(text: str) -> BackendSpec:
    """Return the backend of lm-eval that `--backend` names.

    >>> parse_backend("lm-eval:hf,batch_size=8")
    BackendSpec(name='hf', arguments='batch_size=8')

    Raises:
        UsageError: not `lm-eval:NAME[,ARGS]`.
    """
    name, _, arguments = text.removeprefix(PREFIX).partition(",")
    if not text.startswith(PREFIX) or not name:
        raise UsageError(f"backend '{text}'", expected="native, or lm-eval:NAME[,KEY=VALUE,...]")
    return BackendSpec(name=name, arguments=arguments)


def open_backend(spec: BackendSpec, *, folder: Path | None, dtype: str, device: str) -> Any:
    """Return lm-eval's model.

    Raises:
        UsageError: no such backend.
        CheckpointError: it cannot be opened.
    """
    try:
        kind = get_model(spec.name)
    except (KeyError, ValueError) as error:
        from lm_eval.api.registry import MODEL_REGISTRY

        raise UsageError(
            f"lm-eval has no backend '{spec.name}'",
            expected="one of its registry, e.g. hf, vllm",
            remedy=did_you_mean(spec.name, list(MODEL_REGISTRY)),
        ) from error
    arguments = spec.arguments
    settings: dict[str, Any] = {}
    if spec.loads_folders and folder is not None:
        arguments = ",".join(part for part in (f"pretrained={folder}", arguments) if part)
        settings = {"dtype": dtype} if "dtype=" not in arguments else {}
        settings |= {"device": device} if spec.name.startswith("hf") else {}
    try:
        return kind.create_from_arg_string(arguments, settings)
    except Exception as error:
        line = str(error).strip().split("\n")[0][:300]
        raise CheckpointError(
            f"lm-eval's backend '{spec.name}' cannot be opened with '{arguments}': {type(error).__name__}: {line}",
            expected="arguments that this backend takes, and its package installed",
        ) from error


def score_through(backend: Any, requests: Sequence[TextRequest], *, asked: str) -> Iterator[list[BackendScore]]:
    """Yield the answers to some requests at a time, in order; `asked` names backend and model in errors.

    Raises:
        CheckpointError: the backend fails, or an answer is not a finite number; the item is named.
    """
    for start in range(0, len(requests), _REQUESTS_PER_CALL):
        part = requests[start : start + _REQUESTS_PER_CALL]
        answers: list[tuple[float, bool] | None] = [None] * len(part)
        for rolling in (False, True):
            chosen = [i for i, request in enumerate(part) if request.rolling is rolling]
            if not chosen:
                continue
            kind = "loglikelihood_rolling" if rolling else "loglikelihood"
            made = [
                Instance(request_type=kind, doc={}, arguments=_arguments(part[i]), idx=0, metadata=("", i, 1)) for i in chosen
            ]
            try:
                for i, answer in zip(chosen, getattr(backend, kind)(made), strict=True):
                    answers[i] = (float(answer[0]), bool(answer[1])) if isinstance(answer, tuple) else (float(answer), False)
            except Exception as error:  # Foreign code: whatever it raises, this checkpoint has failed and the next may not.
                raise CheckpointError(
                    f"{asked} failed on '{kind}': {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                    expected="a causal language model that this backend can ask for likelihoods",
                ) from error
        yield [_checked(backend, part[i], start + i, answer) for i, answer in enumerate(answers) if answer is not None]


def write_through(backend: Any, requests: Sequence[tuple[str, Decoding]], *, asked: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the answers to some prompts at a time, with the position of the first; `asked` names backend and model in errors.

    Raises:
        CheckpointError: the backend fails.
    """
    for start in range(0, len(requests), _REQUESTS_PER_CALL):
        part = requests[start : start + _REQUESTS_PER_CALL]
        made = [
            Instance(request_type="generate_until", doc={}, arguments=(text, _kwargs(kind)), idx=0, metadata=("", i, 1))
            for i, (text, kind) in enumerate(part)
        ]
        try:
            yield start, [str(answer) for answer in backend.generate_until(made)]
        except Exception as error:  # Foreign code, as above.
            raise CheckpointError(
                f"{asked} failed on 'generate_until': {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                expected="a model that this backend can let write answers",
            ) from error


def _kwargs(decoding: Decoding) -> dict[str, Any]:
    drawn = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
    settings = {name: value for name, value in drawn.items() if value} if decoding.is_drawn else {"do_sample": False}
    return {"until": list(decoding.until), "max_gen_toks": decoding.max_new_tokens, **settings, **dict(decoding.other)}


def count_tokens(backend: Any, text: str) -> int:
    """Tokens of an answer by the backend's tokenizer, 0 where it does not say."""
    encode = getattr(backend, "tok_encode", None)
    return 0 if encode is None else len(encode(text))


def _arguments(request: TextRequest) -> tuple[str, ...]:
    return (request.continuation,) if request.rolling else (request.context, request.continuation)


def _checked(backend: Any, request: TextRequest, index: int, answer: tuple[float, bool]) -> BackendScore:
    value, is_greedy = answer
    if not math.isfinite(value):
        raise CheckpointError(
            f"the backend answered {value} for item {request.item_idx}, choice {request.choice_idx}", expected="a finite number"
        )
    return BackendScore(index=index, loglikelihood=value, is_greedy=is_greedy, n_tokens=_count_tokens(backend, request))


def _count_tokens(backend: Any, request: TextRequest) -> int:
    """Tokens of the continuation by the backend's own boundary rule, where it has one."""
    encode_pair = getattr(backend, "_encode_pair", None)
    encode = getattr(backend, "tok_encode", None)
    if encode is None or encode_pair is None:
        return 0
    if request.rolling or request.context == "":
        return len(encode(request.continuation))
    return len(encode_pair(request.context, request.continuation)[1])
