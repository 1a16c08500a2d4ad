"""A corpus as one memory-mapped array of token ids: tokenised once by several processes, named by a hash of what made it."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import InputError
from forecast.core.hashing import content_hash, file_hash
from forecast.training.documents import read_documents

_FORMAT = 1
"""Raise when the same corpus and tokenizer would give another array."""
_BATCH_BYTES = 1 << 20
Advance = Callable[[int], None]
"""Called with the number of tokens just written."""


@dataclass(frozen=True, kw_only=True)
class TokenCache:
    """Token ids of a corpus in reading order, each document followed by the end token."""

    path: Path
    n_tokens: int
    n_documents: int
    dtype: str
    data_hash: str
    """Hash of corpus, tokenizer and how much of it was wanted."""
    complete: bool
    """False when reading stopped because there were enough tokens."""

    def open(self) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """Map the array, read-only."""
        mapped: NDArray[np.uint16] | NDArray[np.uint32] = np.memmap(
            self.path, dtype=self.dtype, mode="r", shape=(self.n_tokens,)
        )
        return mapped


def load_tokenizer_file(folder: Path) -> Path:
    """Return the folder's `tokenizer.json`.

    Raises:
        InputError: there is none.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"no tokenizer.json in '{folder}'", expected="a tokenizer folder", remedy="check `tokenizer=`")
    return path


def build_cache(
    corpus: Path,
    tokenizer_folder: Path,
    cache_folder: Path,
    *,
    end_token: str,
    needed_tokens: int | None = None,
    jobs: int = 1,
    advance: Advance | None = None,
) -> TokenCache:
    """Tokenise `corpus` unless that was done before; stops after the document that completes `needed_tokens` (None: all).

    Raises:
        InputError: the corpus or the tokenizer cannot be read, the corpus is empty, or the end token is unknown.
    """
    if not corpus.is_file():
        raise InputError(f"no corpus '{corpus}'", expected="a text or Parquet file", remedy="check the path")
    tokenizer_file = load_tokenizer_file(tokenizer_folder)
    identity = {
        "format": _FORMAT,
        "corpus": file_hash(corpus),
        "tokenizer": file_hash(tokenizer_file),
        "end": end_token,
        "needed": needed_tokens,
    }
    data_hash = content_hash(identity)
    path, meta_path = cache_folder / f"{data_hash}.tokens", cache_folder / f"{data_hash}.json"
    if meta_path.is_file() and path.is_file():
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
        cache = TokenCache(path=path, **meta)
        if path.stat().st_size == cache.n_tokens * np.dtype(cache.dtype).itemsize:
            return cache
    cache_folder.mkdir(parents=True, exist_ok=True)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    end_id = tokenizer.token_to_id(end_token)
    if end_id is None:
        raise InputError(f"the tokenizer in '{tokenizer_folder}' has no token {end_token!r}", expected="its end-of-text token")
    dtype = "uint16" if tokenizer.get_vocab_size() <= 2**16 else "uint32"
    n_tokens, n_documents, complete = _write_tokens(
        path, corpus, tokenizer_file, end_id, dtype, needed_tokens=needed_tokens, jobs=jobs, advance=advance
    )
    cache = TokenCache(
        path=path, n_tokens=n_tokens, n_documents=n_documents, dtype=dtype, data_hash=data_hash, complete=complete
    )
    meta = {key: value for key, value in asdict(cache).items() if key != "path"}
    partial = meta_path.with_suffix(f".json.{os.getpid()}.partial")
    partial.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    partial.replace(meta_path)
    return cache


def _write_tokens(
    path: Path,
    corpus: Path,
    tokenizer_file: Path,
    end_id: int,
    dtype: str,
    *,
    needed_tokens: int | None,
    jobs: int,
    advance: Advance | None,
) -> tuple[int, int, bool]:
    """Write under a name of this process, then rename; returns tokens, documents, and whether it is the whole corpus."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    n_tokens = n_documents = 0
    complete = True
    with partial.open("wb") as handle:
        for lengths, ids in _encode_batches(_batches(corpus), tokenizer_file, end_id, jobs):
            if needed_tokens is not None:
                ends = np.cumsum(lengths)
                keep = int(np.searchsorted(ends, needed_tokens - n_tokens)) + 1
                if keep <= len(lengths):
                    ids, lengths, complete = ids[: ends[keep - 1]], lengths[:keep], False
            handle.write(ids.astype(dtype).tobytes())
            n_tokens += len(ids)
            n_documents += len(lengths)
            if advance is not None:
                advance(len(ids))
            if not complete:
                break
    if n_documents == 0:
        partial.unlink()
        raise InputError(f"{corpus} holds no text", expected="at least one document", remedy="check the path")
    partial.replace(path)
    return n_tokens, n_documents, complete


def _batches(corpus: Path) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for document in read_documents(corpus):
        batch.append(document)
        size += len(document)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_batches(
    batches: Iterator[list[str]], tokenizer_file: Path, end_id: int, jobs: int
) -> Iterator[tuple[list[int], NDArray[np.uint32]]]:
    """Encode batches in order; with several jobs, a few batches are under way at a time."""
    if jobs <= 1:
        for batch in batches:
            yield _encode(batch, str(tokenizer_file), end_id)
        return
    # Deaf to Ctrl-C, which reaches the whole group: this process decides what it means.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    context = get_context("spawn")
    with ProcessPoolExecutor(max_workers=jobs, mp_context=context, initializer=signal.signal, initargs=deaf) as pool:
        waiting: list[Future[tuple[list[int], NDArray[np.uint32]]]] = []
        try:
            for batch in batches:
                waiting.append(pool.submit(_encode, batch, str(tokenizer_file), end_id))
                if len(waiting) >= 2 * jobs:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_tokenizers: dict[str, object] = {}
"""Tokenizers of this process, by file: loading one costs more than a batch."""


def _encode(documents: list[str], tokenizer_file: str, end_id: int) -> tuple[list[int], NDArray[np.uint32]]:
    """Encode documents, each followed by the end token; returns lengths and all ids in one array."""
    from tokenizers import Tokenizer

    tokenizer = _tokenizers.get(tokenizer_file)
    if tokenizer is None:
        tokenizer = _tokenizers[tokenizer_file] = Tokenizer.from_file(tokenizer_file)
    encoded = [[*entry.ids, end_id] for entry in tokenizer.encode_batch(documents, add_special_tokens=False)]  # type: ignore[attr-defined]
    lengths = [len(ids) for ids in encoded]
    return lengths, np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.uint32, count=sum(lengths))
