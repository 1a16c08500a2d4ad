"""Files a user names: only regular ones are opened, and nothing waits."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forecast.core.errors import CheckpointError, InputError
from forecast.core.user_files import check_user_file, open_user_file, read_user_bytes, read_user_text


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("reader", [check_user_file, open_user_file, read_user_bytes, read_user_text])
def test_a_pipe_is_refused_at_once(reader: object, pipe: Path) -> None:
    with pytest.raises(InputError, match=r"is a named pipe; expected .* file"):
        reader(pipe)  # type: ignore[operator]


def test_a_link_to_a_pipe_is_one(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pipe)
    with pytest.raises(CheckpointError, match="named pipe"):
        check_user_file(tmp_path / "link", error=CheckpointError)


def test_folders_devices_and_sockets_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_user_bytes(tmp_path)
    with pytest.raises(InputError, match="/dev/zero is a device"):
        read_user_bytes(Path("/dev/zero"))
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(InputError, match="is a socket"):
            read_user_bytes(tmp_path / "socket")


def test_what_is_missing_or_cannot_be_named_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*absent; expected a table"):
        read_user_bytes(tmp_path / "absent", expected="a table")
    with pytest.raises(InputError, match="cannot be read"):
        read_user_bytes(tmp_path / "a\0b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="cannot be read"):
        read_user_bytes(tmp_path / "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("x")
    (tmp_path / "locked").chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_user_bytes(tmp_path / "locked")


def test_content_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfna\xc3\xafve\n")
    assert read_user_text(path) == "naïve\n"
    assert read_user_bytes(path).startswith(b"\xef")
    with pytest.raises(InputError, match=r"has 10 bytes; expected .* at most 4 bytes"):
        read_user_bytes(path, limit=4)
    path.write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=r"byte 2 .* is 0xff"):
        read_user_text(path)
