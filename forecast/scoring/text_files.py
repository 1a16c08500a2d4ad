"""Any text file as a rolling-loglikelihood task: one item per document, for perplexity and bits per byte."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from forecast.core.errors import InputError, UsageError
from forecast.core.hashing import content_hash
from forecast.core.records import ItemRecord, TaskRecord
from forecast.core.user_files import read_user_bytes
from forecast.scoring.requests import RenderedTask, TextRequest

TASK_PREFIX = "text:"
DOCUMENT_END = "<|endoftext|>"
"""Documents are separated by a line that holds this and nothing else (spaces aside)."""
_END_LINE = re.compile(r"^[ \t]*" + re.escape(DOCUMENT_END) + r"[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_LINE_ENDS = "\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RULE = {"kind": "text file", "split": f"lines of {DOCUMENT_END}, line ends stripped", "windows": "lm-eval rolling, context 1"}
"""What besides the text defines the numbers; part of the definition's hash."""


def render_text_files(
    paths: Sequence[Path], *, limit: int | None, on_notice: Callable[[str], None] = lambda _: None
) -> list[RenderedTask]:
    """Return one task per file; a file named twice is scored once.

    Raises:
        InputError: a file is missing, damaged, not UTF-8, or without text.
        UsageError: two different files would have the same task name.
    """
    by_name: dict[str, tuple[Path, RenderedTask]] = {}
    for path in paths:
        task = render_text_file(path, limit=limit, on_notice=on_notice)
        other = by_name.setdefault(task.record.task, (path, task))
        if other[1].record.task_id != task.record.task_id:
            raise UsageError(
                f"{other[0]} and {path} would both be task '{task.record.task}', and their texts differ",
                expected="a name of its own for every text file",
                remedy="rename one, or score them into different results files",
            )
    return [task for _, task in by_name.values()]


def render_text_file(
    path: Path, *, limit: int | None = None, on_notice: Callable[[str], None] = lambda _: None
) -> RenderedTask:
    """Return the task `text:STEM` with one rolling request per document.

    Line ends at a document's two ends belong to the separator, not to the text. The definition's hash covers the text
    itself, so files of one name and different content are never mixed; compression does not matter.

    Args:
        path: UTF-8 text, plain, `.gz` or `.xz`.
        limit: first documents only.
        on_notice: told of documents without text, which are left out.

    Raises:
        InputError: the file is missing, damaged, not UTF-8 (the byte is named), or without text.
    """
    name = TASK_PREFIX + _stem(path)
    content = _read_bytes(path)
    text = _decode(path, content)
    documents = list(_split(text))
    kept = [document for document in documents if document.strip()]
    if not kept:
        raise InputError(
            f"{path} holds no text ({len(content)} bytes, {len(documents)} documents)",
            expected="at least one document with a visible character",
        )
    if len(kept) < len(documents):
        on_notice(f"{name}: {len(documents) - len(kept)} of {len(documents)} documents are empty and left out")
    inside = sum(DOCUMENT_END in document for document in kept)
    if inside:
        on_notice(
            f"{name}: {inside} documents hold {DOCUMENT_END} inside a line; it separates documents only on a line of its own, "
            "and most tokenizers read it as one special token"
        )
    kept = kept[:limit]
    definition = content_hash({**_RULE, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    items = tuple(_item(index, document) for index, document in enumerate(kept))
    record = TaskRecord(
        task_id=content_hash([name, definition, len(items)]),
        task=name,
        num_fewshot=0,
        fewshot_seed=None,
        output_type="loglikelihood_rolling",
        definition_hash=definition,
        limit=limit,
        items=items,
        metadata={"n_bytes_file": len(content), "n_documents_file": len(documents)},
    )
    requests = tuple(
        TextRequest(item_idx=item.item_idx, choice_idx=0, context="", continuation=item.choices[0], rolling=True)
        for item in items
    )
    return RenderedTask(record=record, requests=requests)


def _stem(path: Path) -> str:
    """The file's name without what says how it is stored.

    >>> _stem(Path("sets/english.val.txt.xz"))
    'english.val'
    """
    return re.sub(r"(\.(txt|text|md))?(\.(gz|xz))?$", "", path.name) or path.name


def _read_bytes(path: Path) -> bytes:
    content = read_user_bytes(path, expected="a UTF-8 text file (.txt, .gz or .xz)")
    try:
        if path.suffix == ".gz":
            return gzip.decompress(content)
        return lzma.decompress(content) if path.suffix == ".xz" else content
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a whole text, .gz or .xz file") from error


def _decode(path: Path, content: bytes) -> str:
    start = len(_BYTE_ORDER_MARK) if content.startswith(_BYTE_ORDER_MARK) else 0
    try:
        return content[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        line = content.count(b"\n", 0, offset) + 1
        raise InputError(
            f"{path} is not UTF-8: byte {offset} (from 0) of the uncompressed text is 0x{content[offset]:02x}, line {line}: "
            f"{error.reason}",
            expected="UTF-8 text",
            remedy="convert the file, e.g. with iconv -f WINDOWS-1252 -t UTF-8",
        ) from error


def _split(text: str) -> Iterator[str]:
    """Documents in order; a separator at the file's end ends the last one and begins no other."""
    parts = _END_LINE.split(text)
    if len(parts) > 1 and not parts[-1].strip(_LINE_ENDS):
        parts.pop()
    for part in parts:
        yield part.strip(_LINE_ENDS)


def _item(index: int, document: str) -> ItemRecord:
    return ItemRecord(
        item_idx=index,
        prompt="",
        choices=(document,),
        gold=0,
        prompt_hash=content_hash(""),
        n_chars=(len(document),),
        n_bytes=(len(document.encode()),),
    )
