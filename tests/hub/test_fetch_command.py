"""`forecast fetch` in a process of its own: the environment it honours, what it prints, what a kill costs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = "lab/tiny"


@pytest.fixture
def environment(hub, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return {**inherited, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DOWNLOAD_TIMEOUT": "30"}


def fetch(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forecast", "fetch", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_dry_run_downloads_nothing_and_counts_every_byte(hub, environment, files, tmp_path: Path) -> None:
    commit = hub.add(REPO, "step1", files)
    needed = sum(len(files[name]) for name in ("config.json", "tokenizer.json", "model.safetensors"))
    (row,) = json.loads(fetch(environment, "--model", f"{REPO}@step1", "--dry-run", "--json").stdout)
    assert (row["status"], row["total_bytes"], row["downloaded_bytes"]) == ("to fetch", needed, needed)
    assert row["revision_sha"] == commit
    assert not [entry for entry in hub.requests if "/resolve/" in entry[1]]
    done = fetch(environment, "--model", f"{REPO}@step1")
    assert done.returncode == 0, done.stderr
    assert "fetched" in done.stdout
    assert (tmp_path / "hf" / "hub" / "models--lab--tiny" / "snapshots" / commit / "model.safetensors").is_file()
    (row,) = json.loads(fetch(environment, "--model", f"{REPO}@step1", "--dry-run", "--json").stdout)
    assert (row["status"], row["downloaded_bytes"]) == ("present", 0)


def test_one_failure_among_several_is_exit_3_and_all_is_exit_1(hub, environment, files) -> None:
    hub.add(REPO, "step1", files)
    some = fetch(environment, "--model", f"{REPO}@step1", "--model", f"{REPO}@step2")
    assert some.returncode == 3
    assert some.stderr.strip().splitlines()[-1].startswith("error: 1 of 2 checkpoints failed: lab/tiny@step2")
    none = fetch(environment, "--model", f"{REPO}@step2")
    assert none.returncode == 1
    assert none.stderr.count("no such revision") == 1
    assert "1 checkpoint, 0 B downloaded" in none.stdout
    assert none.stderr.strip().splitlines()[-1].startswith("error: lab/tiny@step2")
    unknown = fetch(environment, "--family", "pythai")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: unknown family 'pythai'")


@pytest.mark.parametrize("dry_run", [("--dry-run",), ()])
def test_an_unreachable_hub_is_said_once_and_ends_the_fetch(environment, dry_run: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = fetch(
        {**environment, "HF_ENDPOINT": endpoint}, "--family", "pythia", "--revisions", "all", "--sizes", "70m", *dry_run
    )
    assert done.returncode == 1
    assert done.stderr.count("cannot be reached") == 1
    assert re.search(
        r"error: EleutherAI/pythia-70m@step0: http.* cannot be reached .*; 153 more checkpoints not tried\n$", done.stderr
    )


def test_token_and_offline_mode_come_from_the_environment(hub, environment, files) -> None:
    hub.add(REPO, "step1", files)
    hub.token = "hf_secret"
    refused = fetch(environment, "--model", f"{REPO}@step1")
    assert refused.returncode == 1
    assert "HF_TOKEN" in refused.stderr
    assert fetch({**environment, "HF_TOKEN": "hf_secret"}, "--model", f"{REPO}@step1").returncode == 0
    asked = len(hub.requests)
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert fetch(offline, "--model", f"{REPO}@step1").returncode == 0
    missing = fetch(offline, "--model", f"{REPO}@step2")
    assert missing.returncode == 1
    assert "HF_HUB_OFFLINE" in missing.stderr
    assert len(hub.requests) == asked


def test_a_killed_download_goes_on_where_it_was(hub, environment, files, tmp_path: Path) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("model.safetensors", stall_seconds=20)
    process = subprocess.Popen(
        [sys.executable, "-m", "forecast", "fetch", "--model", f"{REPO}@step1", "--quiet"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    half = len(files["model.safetensors"]) // 2
    deadline = time.monotonic() + 300
    partial: list[Path] = []
    while time.monotonic() < deadline:
        partial = list((tmp_path / "hf").rglob("*.partial"))
        if partial and partial[0].stat().st_size >= half:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert partial
    again = fetch(environment, "--model", f"{REPO}@step1")
    assert again.returncode == 0, again.stderr
    assert hub.gets("model.safetensors")[-1][2] == f"bytes={half}-"
    (found,) = (tmp_path / "hf").rglob("snapshots/*/model.safetensors")
    assert found.read_bytes() == files["model.safetensors"]
