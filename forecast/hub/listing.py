"""What a repository holds at a commit, and which of its files scoring needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forecast.core.errors import HubError

_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHARD = re.compile(r"(?P<stem>model|pytorch_model)-\d{5}-of-\d{5}\.(?P<kind>safetensors|bin)")
_CONFIG_FILES = frozenset({"config.json", "generation_config.json", "forecast.json"})
_TOKENIZER_FILES = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "vocab.txt",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "chat_template.jinja",
        "chat_template.json",
    }
)
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file at one commit."""

    path: str
    size: int
    """Bytes."""
    digest: str
    """SHA-256 of a large file, git blob SHA-1 of a small one; also the name of its blob in the cache."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A commit and the files it holds."""

    hub_id: str
    commit: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True, kw_only=True)
class Needed:
    """The files that scoring needs."""

    files: tuple[RemoteFile, ...]
    weights: str
    """`safetensors` or `pickled`."""

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)


def make_listing(hub_id: str, commit: str | None, siblings: Iterable[object]) -> Listing:
    """Validate what the hub answered: names are kept only where a digest says what the content must be.

    Raises:
        HubError: no commit, or no usable file.
    """
    if commit is None or not _HEX.fullmatch(commit):
        raise HubError(
            f"the hub's answer for '{hub_id}' has no commit", expected="a 40-digit commit", remedy="check HF_ENDPOINT"
        )
    files = []
    for sibling in siblings:
        name, size = str(getattr(sibling, "rfilename", "")), getattr(sibling, "size", None)
        lfs = getattr(sibling, "lfs", None)
        digest = str(getattr(lfs, "sha256", "") or getattr(sibling, "blob_id", "") or "")
        if name and isinstance(size, int) and size >= 0 and _HEX.fullmatch(digest):
            files.append(RemoteFile(path=name, size=size, digest=digest))
    if not files:
        raise HubError(f"'{hub_id}' at {commit[:12]} lists no files with sizes and digests", expected="a model repository")
    return Listing(hub_id=hub_id, commit=commit, files=tuple(sorted(files, key=lambda entry: entry.path)))


def choose_files(listing: Listing, *, remote_code: bool = False) -> Needed:
    """Return config, tokenizer and one set of weights, safetensors before pickled ones; code only where it is trusted.

    Raises:
        HubError: no config, no weights in the repository's root, or a shard is missing.
    """
    root = {entry.path: entry for entry in listing.files if "/" not in entry.path}
    where = f"'{listing.hub_id}' at {listing.commit[:12]}"
    if "config.json" not in root:
        raise HubError(f"{where} has no config.json", expected="a transformers checkpoint")
    weights, kind = choose_weights(list(root), where=where)
    names = [name for name in root if name in _CONFIG_FILES | _TOKENIZER_FILES]
    names += [name for name in listing_code(root) if remote_code]
    return Needed(files=tuple(root[name] for name in sorted({*names, *weights})), weights=kind)


def listing_code(names: Iterable[str]) -> list[str]:
    """Return the names of Python files."""
    return [name for name in names if name.endswith(".py")]


def choose_weights(names: Sequence[str], *, where: str) -> tuple[list[str], str]:
    """Return the weight files among `names` and their kind.

    Raises:
        HubError: there are none, or a set of shards has gaps.
    """
    for (single, index), kind, ending in ((SAFETENSORS, "safetensors", "safetensors"), (PICKLED, "pickled", "bin")):
        if single in names:
            return [single], kind
        if index in names:
            shards = sorted(name for name in names if (match := _SHARD.fullmatch(name)) and match["kind"] == ending)
            promised = int(shards[0].rpartition("-of-")[2].split(".")[0]) if shards else 0
            if len(shards) != promised or not shards:
                raise HubError(
                    f"{where} has {len(shards)} weight shards", expected=f"{promised or 'those that its index names'}"
                )
            return [index, *shards], kind
    raise HubError(
        f"{where} has no weights that can be loaded", expected="model.safetensors or pytorch_model.bin, or their shards"
    )
