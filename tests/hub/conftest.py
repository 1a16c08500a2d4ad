"""A model hub on loopback that speaks what huggingface_hub asks, and misbehaves on order.

Served: `GET /api/models/ID[/revision/REV]?blobs=true` and `GET|HEAD /ID/resolve/COMMIT/FILE` with ranges.
Faults are kept per path suffix and consumed one per request.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LFS_FROM_BYTES = 1024


@dataclass(frozen=True)
class Fault:
    """One misbehaviour: an HTTP status, or something done to the body."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None
    """Bytes of the body after which the connection is dropped."""
    corrupt: bool = False
    """Send other bytes of the same length."""
    stall_seconds: float = 0.0
    """Silence after the first half of the body."""
    ignore_range: bool = False
    error_code: str = ""


@dataclass
class Repo:
    revisions: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)


class LoopbackHub:
    """The server; use as a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.requests: list[tuple[str, str, str]] = []
        """(method, path, Range header), in order."""
        self.token: str | None = None
        """When set, requests without it get 401."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._serve(self, body=True)

            def do_HEAD(self) -> None:
                hub._serve(self, body=False)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LoopbackHub:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def add(self, hub_id: str, revision: str, files: dict[str, bytes]) -> str:
        """Publish files as a branch; return its commit."""
        commit = hashlib.sha1(repr((hub_id, revision, sorted(files.items()))).encode()).hexdigest()
        repo = self.repos.setdefault(hub_id, Repo())
        repo.revisions[revision] = commit
        repo.commits[commit] = files
        return commit

    def add_folder(self, hub_id: str, revision: str, folder: Path) -> str:
        return self.add(hub_id, revision, {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})

    def break_next(
        self,
        suffix: str,
        *,
        times: int = 1,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        error_code: str = "",
        cut_after: int | None = None,
        corrupt: bool = False,
        stall_seconds: float = 0.0,
        ignore_range: bool = False,
    ) -> None:
        """Let the next requests whose path ends in `suffix` go wrong."""
        fault = Fault(
            status=status,
            headers=headers,
            error_code=error_code,
            cut_after=cut_after,
            corrupt=corrupt,
            stall_seconds=stall_seconds,
            ignore_range=ignore_range,
        )
        self.faults[suffix].extend([fault] * times)

    def gets(self, suffix: str) -> list[tuple[str, str, str]]:
        return [entry for entry in self.requests if entry[0] == "GET" and entry[1].endswith(suffix)]

    def _serve(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.requests.append((handler.command, path, handler.headers.get("Range", "")))
        fault = Fault()
        for suffix, waiting in self.faults.items():
            if path.endswith(suffix) and waiting:
                fault = waiting.pop(0)
                break
        if fault.status != 200:
            self._refuse(handler, fault.status, fault.headers, fault.error_code)
        elif self.token is not None and handler.headers.get("Authorization") != f"Bearer {self.token}":
            self._refuse(handler, 401, (), "")
        elif path.startswith("/api/models/"):
            self._answer_info(handler, path.removeprefix("/api/models/"))
        else:
            self._answer_file(handler, path.lstrip("/"), fault, body=body)

    def _answer_info(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        hub_id, _, revision = path.partition("/revision/")
        repo = self.repos.get(hub_id)
        if repo is None:
            # The real hub does not tell strangers whether a repository exists.
            self._refuse(handler, 401, (("X-Error-Message", "Invalid username or password."),), "")
            return
        commit = revision if revision in repo.commits else repo.revisions.get(revision or "main")
        if commit is None:
            self._refuse(handler, 404, (), "RevisionNotFound")
            return
        siblings = [_sibling(name, content) for name, content in sorted(repo.commits[commit].items())]
        self._send(handler, 200, json.dumps({"id": hub_id, "sha": commit, "siblings": siblings}).encode())

    def _answer_file(self, handler: BaseHTTPRequestHandler, path: str, fault: Fault, *, body: bool) -> None:
        hub_id, _, rest = path.partition("/resolve/")
        commit, _, name = rest.partition("/")
        repo = self.repos.get(hub_id)
        content = repo.commits.get(commit, {}).get(name) if repo else None
        if content is None:
            self._refuse(handler, 404, (), "EntryNotFound")
            return
        start = 0
        wanted = handler.headers.get("Range", "")
        if wanted.startswith("bytes=") and not fault.ignore_range:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        sent = content[::-1] if fault.corrupt else content
        sent = sent[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(sent)))
        handler.send_header("ETag", f'"{_digest(content)}"')
        handler.send_header("X-Repo-Commit", commit)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if body:
            self._send_body(handler, sent, fault)

    def _send_body(self, handler: BaseHTTPRequestHandler, sent: bytes, fault: Fault) -> None:
        try:
            if fault.cut_after is not None:
                handler.wfile.write(sent[: fault.cut_after])
                handler.wfile.flush()
                handler.close_connection = True
                return
            if fault.stall_seconds:
                handler.wfile.write(sent[: len(sent) // 2])
                handler.wfile.flush()
                time.sleep(fault.stall_seconds)
                handler.wfile.write(sent[len(sent) // 2 :])
                return
            handler.wfile.write(sent)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _refuse(
        self, handler: BaseHTTPRequestHandler, status: int, headers: tuple[tuple[str, str], ...], error_code: str
    ) -> None:
        extra = (*headers, ("X-Error-Code", error_code)) if error_code else headers
        self._send(handler, status, b'{"error": "refused"}', extra)

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git_digest(content)}
    if len(content) >= LFS_FROM_BYTES:
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _git_digest(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) >= LFS_FROM_BYTES else _git_digest(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A running hub; the real client is allowed onto the (loopback) network and gives up soon on a silent server."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with LoopbackHub() as server:
        yield server


class XetHub(LoopbackHub):
    """A hub that keeps its large files in Xet storage, as huggingface.co does: the plain content lies behind a redirection.

    Beside what `LoopbackHub` serves: `/api/models/ID/xet-read-token/COMMIT`, `/v1/reconstructions/HASH` and `/xorb/HASH`. Each
    file is one xorb of uncompressed chunks. Faults of a path that ends in `/xorb` are consumed by any xorb.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, bytes] = {}
        """Content by its Xet hash."""
        # The compiled client reports how it fared.
        self._server.RequestHandlerClass.do_POST = lambda handler: self._send(handler, 404, b"")  # type: ignore[attr-defined]

    def _answer_file(self, handler: BaseHTTPRequestHandler, path: str, fault: Fault, *, body: bool) -> None:
        kind, _, rest = path.partition("/")
        if kind == "cdn":
            super()._answer_file(handler, rest, fault, body=body)
        elif kind == "v1":
            self._answer_reconstruction(handler, path.rpartition("/")[2])
        elif kind == "xorb":
            self._answer_xorb(handler, path.rpartition("/")[2])
        else:
            hub_id, _, rest = path.partition("/resolve/")
            commit, _, name = rest.partition("/")
            content = self.repos[hub_id].commits.get(commit, {}).get(name, b"") if hub_id in self.repos else b""
            if len(content) < LFS_FROM_BYTES:
                super()._answer_file(handler, path, fault, body=body)
            else:
                self._redirect(handler, path, commit, content)

    def _answer_info(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        if "/xet-read-token/" not in path:
            super()._answer_info(handler, path)
            return
        headers = (
            ("X-Xet-Cas-Url", self.endpoint),
            ("X-Xet-Access-Token", "short-lived"),
            ("X-Xet-Token-Expiration", str(int(time.time()) + 3600)),
        )
        self._send(handler, 200, b"{}", headers)

    def _redirect(self, handler: BaseHTTPRequestHandler, path: str, commit: str, content: bytes) -> None:
        xet_hash = hashlib.sha256(b"xet" + content).hexdigest()
        self.stored[xet_hash] = content
        headers = (
            # Another host than the hub's, as the client follows a redirection within it.
            ("Location", f"{self.endpoint.replace('127.0.0.1', 'localhost')}/cdn/{path}"),
            ("X-Linked-Etag", f'"{_digest(content)}"'),
            ("X-Linked-Size", str(len(content))),
            ("X-Repo-Commit", commit),
            ("X-Xet-Hash", xet_hash),
            ("X-Xet-Refresh-Route", f"{self.endpoint}/api/models/any/xet-read-token/{commit}"),
        )
        self._send(handler, 302, b"", headers)

    def _answer_reconstruction(self, handler: BaseHTTPRequestHandler, xet_hash: str) -> None:
        content, whole = self.stored[xet_hash], _xorb(self.stored[xet_hash])
        if int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]) >= len(content):
            self._refuse(handler, 416, (), "")
            return
        chunks = {"start": 0, "end": -(-len(content) // _XET_CHUNK_BYTES)}
        url = f"{self.endpoint}/xorb/{xet_hash}"
        answer = {
            "offset_into_first_range": 0,
            "terms": [{"hash": xet_hash, "unpacked_length": len(content), "range": chunks}],
            "fetch_info": {xet_hash: [{"range": chunks, "url": url, "url_range": {"start": 0, "end": len(whole) - 1}}]},
        }
        self._send(handler, 200, json.dumps(answer).encode())

    def _answer_xorb(self, handler: BaseHTTPRequestHandler, xet_hash: str) -> None:
        waiting = self.faults["/xorb"]
        fault = waiting.pop(0) if waiting else Fault()
        if fault.status != 200:
            self._refuse(handler, fault.status, (), "")
            return
        if fault.stall_seconds:
            time.sleep(fault.stall_seconds)
        content = self.stored[xet_hash]
        sent = _xorb(content[::-1] if fault.corrupt else content)
        start, end = (int(text) for text in handler.headers["Range"].removeprefix("bytes=").split("-"))
        part = sent[start : end + 1]
        self._send(handler, 206, part, (("Content-Range", f"bytes {start}-{end}/{len(sent)}"),))


_XET_CHUNK_BYTES = 1 << 16


def _xorb(content: bytes) -> bytes:
    """Chunks with the header that https://huggingface.co/docs/xet/xorb describes: version, two sizes, no compression."""
    pieces = [content[start : start + _XET_CHUNK_BYTES] for start in range(0, len(content), _XET_CHUNK_BYTES)]
    return b"".join(
        b"\0" + len(piece).to_bytes(3, "little") + b"\0" + len(piece).to_bytes(3, "little") + piece for piece in pieces
    )


@pytest.fixture
def xet_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[XetHub]:
    """A running hub with Xet storage."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 5)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with XetHub() as server:
        yield server


@pytest.fixture
def files() -> dict[str, bytes]:
    """A repository's files with made-up weights: enough for everything but loading."""
    weights = bytes(range(256)) * 4096
    return {
        "config.json": b'{"model_type": "gpt_neox"}',
        "tokenizer.json": b'{"version": "1.0"}' + b" " * 2000,
        "model.safetensors": weights,
        "pytorch_model.bin": weights[::-1],
        "README.md": b"# Not needed",
        "training_args.bin": b"not needed either",
        "modeling_custom.py": b"raise SystemExit",
    }
