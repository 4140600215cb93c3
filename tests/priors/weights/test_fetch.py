"""Downloads that break, resume, change on the server, are refused, or are not what they should be."""

from __future__ import annotations

import hashlib
import socket
import sys
from types import ModuleType

import pytest
from file_server import Files, serving

from vid4d.errors import InputError
from vid4d.priors.weights import fetch
from vid4d.priors.weights.fetch import download

CONTENT = bytes(range(256)) * 40_000  # 10 MB: more than sockets buffer
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def files():
    with serving(Files({"/file.ckpt": CONTENT})) as files:
        yield files


def get(files, to, **more):
    return download(f"{files.address}/file.ckpt", to, pause=0.0, **more)


def test_a_file_arrives_whole_with_its_checksum_and_nothing_beside_it(files, tmp_path):
    told = []
    found = get(files, tmp_path / "new" / "a.ckpt", sha256=SHA256, report=lambda *p: told.append(p))
    assert found == SHA256
    assert (tmp_path / "new" / "a.ckpt").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.ckpt"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_broken_connection_goes_on_where_it_broke(files, tmp_path):
    files.breaks = [4_000_000, 3_000_000]
    assert get(files, tmp_path / "a.ckpt", sha256=SHA256) == SHA256
    assert files.asked == [None, "bytes=4000000-", "bytes=7000000-"]
    assert files.served == len(CONTENT)


def test_a_later_run_goes_on_where_the_first_stopped(files, tmp_path):
    files.breaks = [4_000_000]
    with pytest.raises(InputError, match=r"broke after 4 MB.*goes on from there"):
        get(files, tmp_path / "a.ckpt", tries=1)
    assert not (tmp_path / "a.ckpt").exists()
    assert get(files, tmp_path / "a.ckpt") == SHA256
    assert files.asked[1] == "bytes=4000000-"
    assert files.served == len(CONTENT)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_another_file_under_the_same_address_begins_anew(files, tmp_path):
    files.breaks = [4_000_000]
    with pytest.raises(InputError):
        get(files, tmp_path / "a.ckpt", tries=1)
    other = CONTENT[::-1]
    files.files["/file.ckpt"] = other
    get(files, tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == other


def test_a_server_without_ranges_begins_anew(files, tmp_path):
    files.breaks, files.ranges = [4_000_000], False
    assert get(files, tmp_path / "a.ckpt") == SHA256
    assert files.served == len(CONTENT) + 4_000_000


def test_what_was_whole_before_a_crash_is_not_fetched_again(files, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "sha256_of", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            get(files, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()
    assert get(files, tmp_path / "a.ckpt") == SHA256
    assert files.served == len(CONTENT)


def test_another_checksum_is_refused_and_the_file_removed(files, tmp_path):
    with pytest.raises(InputError, match="not the file that is expected"):
        get(files, tmp_path / "a.ckpt", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, "is not there any more.*otherwise ask the author"),
        (401, "agree to the licence"),
        (403, "agree to the licence"),
        (451, "answers with an error"),
    ],
)
def test_refusals_say_what_to_do(files, tmp_path, status, sentence):
    files.refuses["/file.ckpt"] = status
    with pytest.raises(InputError, match=sentence):
        get(files, tmp_path / "a.ckpt", otherwise="ask the author")
    assert len(files.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_in_trouble_is_asked_again(files, tmp_path):
    files.refuses["/file.ckpt"] = 503
    with pytest.raises(InputError, match="try again later"):
        get(files, tmp_path / "a.ckpt", tries=3)
    assert len(files.asked) == 3


def test_offline_is_said(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=r"127\.0\.0\.1:\d+ cannot be reached.*go online.*otherwise ask"):
        download(f"http://127.0.0.1:{port}/a", tmp_path / "a", pause=0.0, otherwise="ask the author")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before(files, tmp_path, monkeypatch):
    free = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(InputError, match=r"1 MB of room, 10 MB are needed"):
        get(files, tmp_path / "a.ckpt")


def test_tokens_go_to_the_hub_alone(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    get(files, tmp_path / "a.ckpt")
    assert "secret" not in str(files.headers)
    request = fetch._request("https://huggingface.co/a/b/resolve/main/c")
    assert request.unredirected_hdrs == {"Authorization": "Bearer secret"}
    assert "Authorization" not in request.headers


class Hub:
    """huggingface_hub, as far as it is used."""

    def __init__(self, monkeypatch, answer) -> None:
        self.calls = []
        hub, errors = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")
        parents = {
            "HfHubHTTPError": OSError,
            "RepositoryNotFoundError": "HfHubHTTPError",
            "GatedRepoError": "RepositoryNotFoundError",
            "RevisionNotFoundError": "HfHubHTTPError",
            "EntryNotFoundError": Exception,
            "LocalEntryNotFoundError": "EntryNotFoundError",
        }
        for name, parent in parents.items():
            base = getattr(errors, parent) if isinstance(parent, str) else parent
            setattr(errors, name, type(name, (base,), {}))

        def hf_hub_download(repo, file, *, revision, local_dir):
            self.calls.append((repo, file, revision))
            if isinstance(answer, str):
                raise getattr(errors, answer)(answer)
            path = local_dir / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(answer)
            return str(path)

        hub.errors, hub.hf_hub_download = errors, hf_hub_download
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
        monkeypatch.setattr(fetch.util, "find_spec", lambda name: hub)


HUB_URL = "https://huggingface.co/owner/repo/resolve/main/sub/a.ckpt"


def test_the_hub_serves_its_own_addresses(tmp_path, monkeypatch):
    hub = Hub(monkeypatch, b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert download(HUB_URL, tmp_path / "a.ckpt", sha256=expected) == expected
    assert hub.calls == [("owner/repo", "sub/a.ckpt", "main")]
    assert (tmp_path / "a.ckpt").read_bytes() == b"weights"
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
    with pytest.raises(InputError, match="not the file that is expected"):
        download(HUB_URL, tmp_path / "b.ckpt", sha256="0" * 64)
    assert not (tmp_path / "b.ckpt").exists()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("GatedRepoError", "agree to the licence"),
        ("EntryNotFoundError", "not at https://huggingface.co/owner/repo any more"),
        ("LocalEntryNotFoundError", "go online"),
        ("HfHubHTTPError", "answers with an error"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(tmp_path, monkeypatch, error, sentence):
    Hub(monkeypatch, error)
    with pytest.raises(InputError, match=sentence):
        download(HUB_URL, tmp_path / "a.ckpt")
