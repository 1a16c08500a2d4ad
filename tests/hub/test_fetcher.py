"""The fetcher against a hub on loopback, with huggingface_hub's real client."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from forecast.core.errors import HubError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher

REPO = "lab/tiny"


def request(revision: str = "step1", source: str = REPO) -> CheckpointRequest:
    return CheckpointRequest(source=source, revision=revision)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def fetcher(hub, tmp_path: Path, waits: list[float]) -> Fetcher:
    return Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint, sleep=waits.append)


def test_a_branch_is_pinned_and_only_needed_files_come(hub, fetcher: Fetcher, files, tmp_path: Path) -> None:
    commit = hub.add(REPO, "step1", files)
    pinned = fetcher.resolve(request())
    folder = fetcher.fetch(pinned)
    assert pinned.metadata["revision_sha"] == commit == folder.name
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_branch_that_moves_is_another_checkpoint(hub, files, tmp_path: Path) -> None:
    first = hub.add(REPO, "main", files)
    one = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(request("main"))
    second = hub.add(REPO, "main", {**files, "model.safetensors": b"new" * 1000})
    two = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(request("main"))
    assert (one.name, two.name) == (first, second)
    assert (one / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_the_real_client_finds_the_same_cache(hub, fetcher: Fetcher, files, tmp_path: Path) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    hub.add(REPO, "step1", files)
    folder = fetcher.fetch(request())
    found = try_to_load_from_cache(REPO, "model.safetensors", cache_dir=tmp_path / "cache", revision="step1")
    assert Path(str(found)) == folder / "model.safetensors"
    (repo,) = scan_cache_dir(tmp_path / "cache").repos
    assert repo.repo_id == REPO
    assert {revision.commit_hash for revision in repo.revisions} == {folder.name}


def test_pickled_weights_only_where_there_are_no_others(hub, fetcher: Fetcher, files) -> None:
    del files["model.safetensors"]
    hub.add(REPO, "step1", files)
    assert fetcher.preview(request()).weights == "pickled"
    assert (fetcher.fetch(request()) / "pytorch_model.bin").is_file()


def test_shards_come_with_their_index_and_a_gap_is_an_error(hub, fetcher: Fetcher, files) -> None:
    del files["model.safetensors"], files["pytorch_model.bin"]
    shards = {f"model-0000{part}-of-00002.safetensors": bytes([part]) * 3000 for part in (1, 2)}
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    hub.add(REPO, "whole", {**files, **shards, "model.safetensors.index.json": index})
    hub.add(REPO, "gap", {**files, **dict(list(shards.items())[:1]), "model.safetensors.index.json": index})
    assert len(list(fetcher.fetch(request("whole")).glob("model-*.safetensors"))) == 2
    with pytest.raises(HubError, match="1 weight shards; expected 2"):
        fetcher.fetch(request("gap"))


def test_code_comes_only_for_the_trusted_model(hub, files, tmp_path: Path) -> None:
    hub.add(REPO, "step1", files)
    hub.add("lab/other", "step1", files)
    fetcher = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint, trust_remote_code=[REPO])
    assert (fetcher.fetch(request()) / "modeling_custom.py").is_file()
    assert not (fetcher.fetch(request(source="lab/other")) / "modeling_custom.py").exists()


def test_what_is_there_is_not_downloaded_again(hub, fetcher: Fetcher, files, tmp_path: Path) -> None:
    hub.add(REPO, "step1", files)
    fetcher.fetch(request())
    before = len(hub.gets("model.safetensors"))
    again = Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint)
    assert again.preview(request()).missing_bytes == 0
    again.fetch(request())
    assert len(hub.gets("model.safetensors")) == before == 1


def test_files_that_revisions_share_come_once(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    hub.add(REPO, "step2", {**files, "model.safetensors": b"other" * 1000})
    fetcher.fetch(request("step1"))
    assert fetcher.preview(request("step2")).missing_bytes == 5000
    fetcher.fetch(request("step2"))
    assert len(hub.gets("tokenizer.json")) == 1


def test_a_dropped_connection_resumes_where_it_broke(hub, fetcher: Fetcher, files, waits: list[float]) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("model.safetensors", cut_after=300_000)
    hub.break_next("model.safetensors", cut_after=200_000)
    folder = fetcher.fetch(request())
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    ranges = [entry[2] for entry in hub.gets("model.safetensors")]
    assert ranges[0] == ""
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in ranges[1:]]
    assert starts == [300_000, 500_000]
    assert len(waits) == 2


def test_a_server_that_ignores_ranges_is_started_over(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("model.safetensors", cut_after=300_000)
    hub.break_next("model.safetensors", ignore_range=True)
    folder = fetcher.fetch(request())
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_another_process_goes_on_where_the_first_was_killed(hub, files, tmp_path: Path) -> None:
    import hashlib

    hub.add(REPO, "step1", files)
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    blobs = tmp_path / "models--lab--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.partial").write_bytes(files["model.safetensors"][:700_000])
    folder = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(request())
    assert hub.gets("model.safetensors")[0][2] == "bytes=700000-"
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_wrong_bytes_are_fetched_anew_once(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("model.safetensors", corrupt=True)
    assert (fetcher.fetch(request()) / "model.safetensors").read_bytes() == files["model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_wrong_bytes_twice_are_an_error_and_nothing_is_kept(hub, fetcher: Fetcher, files, name: str, tmp_path: Path) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next(name, corrupt=True, times=2)
    with pytest.raises(HubError, match=rf"{name}: the content's hash is"):
        fetcher.fetch(request())
    assert not list((tmp_path / "cache").rglob(name))
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_partial_of_other_content_does_not_survive(hub, files, tmp_path: Path) -> None:
    import hashlib

    hub.add(REPO, "step1", files)
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    blobs = tmp_path / "models--lab--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.partial").write_bytes(b"x" * 700_000)
    folder = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(request())
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_retry_after_is_obeyed_and_said(hub, files, waits: list[float], tmp_path: Path) -> None:
    progress = SilentProgress()
    fetcher = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint, sleep=waits.append, progress=progress)
    hub.add(REPO, "step1", files)
    hub.break_next("/revision/step1", status=429, headers=(("Retry-After", "7"),))
    hub.break_next("model.safetensors", status=429, headers=(("Retry-After", "11"),))
    fetcher.fetch(request())
    assert waits == [7.0, 11.0]
    assert [notice.partition(": ")[2] for notice in progress.notices] == ["waiting 7 s", "waiting 11 s"]


def test_a_pause_beyond_reason_ends_the_run(hub, fetcher: Fetcher, files, waits: list[float]) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("/revision/step1", status=429, headers=(("Retry-After", "3600"),))
    with pytest.raises(HubError, match=r"too many requests .* asks to wait 3600 s"):
        fetcher.fetch(request())
    assert waits == []


def test_server_errors_are_tried_again_and_then_named(hub, fetcher: Fetcher, files, waits: list[float]) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("/revision/step1", status=503, times=2)
    fetcher.fetch(request())
    assert len(waits) == 2
    hub.add(REPO, "step2", files)
    hub.break_next("/revision/step2", status=500, times=99)
    with pytest.raises(HubError, match="answered HTTP 500"):
        fetcher.fetch(request("step2"))


def test_a_silent_body_is_given_up_and_resumed(hub, fetcher: Fetcher, files, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, "step1", files)
    quick = Fetcher(cache_folder=fetcher._cache_folder, endpoint=hub.endpoint, sleep=lambda seconds: None)
    object.__setattr__(quick._source, "timeout_seconds", 0.3)
    hub.break_next("model.safetensors", stall_seconds=1.0)
    folder = quick.fetch(request())
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert len(hub.gets("model.safetensors")) == 2


def test_a_missing_revision_names_itself(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    with pytest.raises(HubError, match="lab/tiny@step999: the hub has no such revision"):
        fetcher.fetch(request("step999"))


def test_a_missing_model_says_how_to_go_on(hub, fetcher: Fetcher) -> None:
    with pytest.raises(HubError, match=r"lab/none@step1: .* refused access \(HTTP 401\).*no such model.*HF_TOKEN"):
        fetcher.fetch(request(source="lab/none"))
    hub.break_next("/revision/step1", status=404, error_code="RepoNotFound")
    with pytest.raises(HubError, match=r"lab/none@step1: no such model on .*, or it is private \(HTTP 404\).*HF_TOKEN"):
        fetcher.fetch(request(source="lab/none"))


def test_a_gated_model_says_how_to_go_on(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("/revision/step1", status=403, error_code="GatedRepo")
    with pytest.raises(HubError, match="is gated"):
        fetcher.fetch(request())


def test_a_file_that_vanished_is_named(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    hub.break_next("model.safetensors", status=404, error_code="EntryNotFound")
    with pytest.raises(HubError, match=r"model.safetensors: a file is missing"):
        fetcher.fetch(request())


def test_the_token_is_sent_and_a_wrong_one_is_refused(hub, files, tmp_path: Path) -> None:
    hub.add(REPO, "step1", files)
    hub.token = "hf_right"
    Fetcher(cache_folder=tmp_path / "a", endpoint=hub.endpoint, token="hf_right").fetch(request())
    with pytest.raises(HubError, match="HTTP 401"):
        Fetcher(cache_folder=tmp_path / "b", endpoint=hub.endpoint, token="hf_wrong").fetch(request())


def test_an_unreachable_hub_is_one_line(tmp_path: Path, hub) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    waits: list[float] = []
    with pytest.raises(HubError, match="cannot be reached") as caught:
        Fetcher(cache_folder=tmp_path, endpoint=endpoint, sleep=waits.append).fetch(request())
    assert "\n" not in str(caught.value)
    # Without a network nobody should wait half a minute to hear so.
    assert 0 < sum(waits) < 10


def test_offline_uses_the_cache_or_says_so(hub, fetcher: Fetcher, files, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    commit = hub.add(REPO, "step1", files)
    fetcher.fetch(request())
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint)
    assert offline.fetch(request()).name == commit
    assert offline.resolve(request()).metadata["revision_sha"] == commit
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        offline.fetch(request("step2"))
    assert len(hub.requests) == asked


def test_a_commit_that_is_complete_needs_no_hub(hub, fetcher: Fetcher, files, tmp_path: Path) -> None:
    commit = hub.add(REPO, "step1", files)
    fetcher.fetch(request())
    asked = len(hub.requests)
    again = Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint)
    assert again.fetch(request(commit)).name == commit
    assert len(hub.requests) == asked


def test_a_hub_that_went_away_leaves_the_cache_and_says_so(hub, fetcher: Fetcher, files, tmp_path: Path) -> None:
    commit = hub.add(REPO, "step1", files)
    fetcher.fetch(request())
    progress = SilentProgress()
    stranded = Fetcher(
        cache_folder=tmp_path / "cache", endpoint="http://127.0.0.1:9", sleep=lambda seconds: None, progress=progress
    )
    assert stranded.fetch(request()).name == commit
    assert "cannot be reached" in progress.notices[0]
    assert commit[:12] in progress.notices[0]
    waits: list[float] = []
    hub.add(REPO, "step2", files)
    fetcher.fetch(request("step2"))
    stranded._sleep = waits.append
    stranded.fetch(request("step2"))
    with pytest.raises(HubError, match="cannot be reached"):
        stranded.fetch(request("step3"))
    assert (len(progress.notices), waits) == (1, [])


def test_offline_does_not_take_half_a_checkpoint_for_a_whole(hub, fetcher: Fetcher, files, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    hub.add(REPO, "step1", files)
    folder = fetcher.fetch(request())
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="not complete"):
        Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint).fetch(request())


def test_the_next_checkpoint_is_fetched_while_this_one_is_used(hub, fetcher: Fetcher, files) -> None:
    for step in (1, 2, 3):
        hub.add(REPO, f"step{step}", {**files, "model.safetensors": bytes([step]) * 5000})
    requests = [request(f"step{step}") for step in (1, 2, 3)]
    fetcher.plan(requests)
    fetcher.fetch(requests[0])
    deadline = time.monotonic() + 120
    while len(hub.gets("model.safetensors")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(hub.gets("model.safetensors")) == 2
    assert (fetcher.fetch(requests[1]) / "model.safetensors").read_bytes() == bytes([2]) * 5000
    assert fetcher.fetch(requests[2]).is_dir()
    assert len(hub.gets("model.safetensors")) == 3


def test_what_is_to_be_skipped_is_not_fetched_ahead(hub, fetcher: Fetcher, files) -> None:
    for step in (1, 2, 3):
        hub.add(REPO, f"step{step}", {**files, "model.safetensors": bytes([step]) * 5000})
    requests = [request(f"step{step}") for step in (1, 2, 3)]
    fetcher.plan(requests, skip=lambda entry: entry.revision == "step2")
    fetcher.fetch(requests[0])
    fetcher.fetch(requests[2])
    fetched = [entry[1].split("/")[-2] for entry in hub.gets("model.safetensors")]
    assert fetched == [hub.repos[REPO].revisions["step1"], hub.repos[REPO].revisions["step3"]]


def test_a_prefetch_that_fails_is_reported_in_its_turn(hub, fetcher: Fetcher, files) -> None:
    hub.add(REPO, "step1", files)
    hub.add(REPO, "step3", files)
    requests = [request("step1"), request("step2"), request("step3")]
    fetcher.plan(requests)
    fetcher.fetch(requests[0])
    with pytest.raises(HubError, match="step2"):
        fetcher.fetch(requests[1])
    assert fetcher.fetch(requests[2]).is_dir()


def test_a_local_folder_passes_through(tmp_path: Path, fetcher: Fetcher) -> None:
    local = CheckpointRequest(source=str(tmp_path))
    assert fetcher.fetch(local) == tmp_path
    assert fetcher.resolve(local) == local


def test_names_in_subfolders_or_upwards_never_reach_the_disk(hub, fetcher: Fetcher, files, tmp_path: Path) -> None:
    hub.add(REPO, "step1", {**files, "../../evil.json": b"{}", "onnx/model.safetensors": b"x"})
    fetcher.fetch(request())
    assert not list(tmp_path.rglob("evil.json"))
    assert not list(tmp_path.rglob("onnx"))
