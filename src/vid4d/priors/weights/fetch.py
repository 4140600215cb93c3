"""Downloads of weights: they go on after a break, and are verified before they get their name.

`huggingface_hub`, where it is installed, serves its own addresses; plain HTTPS serves everything.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from importlib import util
from pathlib import Path
from urllib.parse import urlsplit

from vid4d.errors import InputError
from vid4d.files.records import read_record
from vid4d.files.write import move_into_place, write_json
from vid4d.priors.weights.registry import Report, gigabytes, sha256_of

PIECE = 1 << 20
TIMEOUT = 30.0
"""Seconds without an answer after which a connection counts as broken."""

_HUB = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


def download(
    url: str,
    to: Path,
    *,
    sha256: str | None = None,
    otherwise: str = "",
    report: Report | None = None,
    tries: int = 5,
    pause: float = 2.0,
) -> str:
    """Downloads a file; returns its SHA-256. What arrives lies beside `to` until it is whole and verified.

    sha256: what it must be; None takes what comes. otherwise: how else to get the file, for messages.
    report: progress. tries: connections that may break, with a pause of so many seconds between, before it
    gives up; called again it goes on where it stopped, if the server still has the same file.

    Raises InputError when offline, when the file is not there or not public, and when it is not the one that
    was expected.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    if (hub := _HUB.fullmatch(url)) and util.find_spec("huggingface_hub") is not None:
        partial = _from_hub(hub[1], hub[2], hub[3], to.parent / ".hub", otherwise)
    else:
        partial = to.with_name(to.name + ".part")
        _from_server(url, partial, otherwise, report, tries, pause)
    actual = sha256_of(partial)
    if sha256 is not None and actual != sha256:
        partial.unlink()
        _notes(partial).unlink(missing_ok=True)
        raise InputError(
            f"{url} is not the file that is expected (SHA-256 {actual[:12]}..., not {sha256[:12]}...): "
            f"it was removed; try again, and if it stays so do not use it{_also(otherwise)}"
        )
    move_into_place(partial, to)
    _notes(partial).unlink(missing_ok=True)
    shutil.rmtree(to.parent / ".hub", ignore_errors=True)
    return actual


def _also(otherwise: str) -> str:
    return f"; otherwise {otherwise}" if otherwise else ""


def _notes(partial: Path) -> Path:
    """Beside an unfinished file: which version of which address it is a part of."""
    return partial.with_name(partial.name + ".json")


def _from_server(
    url: str, partial: Path, otherwise: str, report: Report | None, tries: int, pause: float
) -> None:
    for attempt in range(tries):
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            _receive(url, partial, report)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt + 1 == tries:
                raise InputError(_refused(url, error, otherwise)) from None
        except (OSError, http.client.HTTPException) as error:
            if _is_about_disk(error):
                raise
            arrived = partial.stat().st_size if partial.is_file() else 0
            if attempt + 1 == tries or (arrived == before == 0 and _never_connected(error)):
                raise InputError(_broken(url, error, arrived, otherwise)) from None
        time.sleep(pause)


def _is_about_disk(error: Exception) -> bool:
    """True for an error of writing, not of the network: `urllib` wraps the network's."""
    return _full(error) or (isinstance(error, OSError) and getattr(error, "filename", None) is not None)


def _full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1))


def _never_connected(error: Exception) -> bool:
    return isinstance(error, urllib.error.URLError)


def _broken(url: str, error: Exception, arrived: int, otherwise: str) -> str:
    reason = getattr(error, "reason", None) or error or type(error).__name__
    host = urlsplit(url).netloc
    if arrived:
        return (
            f"the connection to {host} broke after {gigabytes(arrived)} ({reason}): "
            "run the same command again, it goes on from there"
        )
    return f"{host} cannot be reached ({reason}): go online and try again{_also(otherwise)}"


def _refused(url: str, error: urllib.error.HTTPError, otherwise: str) -> str:
    if error.code in (401, 403):
        page = url.split("/resolve/")[0]
        return (
            f"{urlsplit(url).netloc} does not give this file to everybody ({error.code}): open {page}, agree "
            "to the licence there, set HF_TOKEN to a token of your account, and try again"
        )
    if error.code in (404, 410):
        return f"{url} is not there any more ({error.code}){_also(otherwise)}"
    return f"{url} answers with an error ({error.code} {error.reason}): try again later{_also(otherwise)}"


def _request(url: str) -> urllib.request.Request:
    request = urllib.request.Request(url, headers={"User-Agent": "vid4d", "Accept-Encoding": "identity"})
    token = os.environ.get("HF_TOKEN")
    if token and urlsplit(url).netloc == "huggingface.co":
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _receive(url: str, partial: Path, report: Report | None) -> None:
    """Download over one connection, on from the unfinished file if the server has the same, else anew."""
    request, notes, have = _request(url), _read_notes(partial), 0
    if partial.is_file() and notes.get("url") == url and notes.get("version"):
        have = partial.stat().st_size
        if have and have == notes.get("size"):
            return
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", str(notes["version"]))
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        partial.unlink()  # longer than what the server has: begin anew
        raise ConnectionError("the server's file has changed") from None
    with answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        size = have + int(length) if length is not None else None
        if size is not None:
            _check_room(partial, size - have)
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version and not version.startswith("W/"):
            write_json(_notes(partial), {"url": url, "version": version, "size": size})
        else:
            _notes(partial).unlink(missing_ok=True)
        with open(partial, "ab" if have else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
                have += len(piece)
                if report is not None:
                    report(have, size or 0)
    if size is not None and have < size:
        raise ConnectionError(f"{gigabytes(size - have)} are missing")


def _read_notes(partial: Path) -> dict[str, str | int | None]:
    path = _notes(partial)
    try:
        return read_record(path, dict[str, str | int | None], "") if path.is_file() else {}
    except InputError:
        return {}


def _check_room(beside: Path, needed: int) -> None:
    free = shutil.disk_usage(beside.parent).free
    if free < needed:
        raise InputError(
            f"{beside.parent} has {gigabytes(free)} of room, {gigabytes(needed)} are needed: make room, or "
            "set VID4D_WEIGHTS to a folder on a larger disk"
        )


def _from_hub(repo: str, revision: str, file: str, folder: Path, otherwise: str) -> Path:
    """Through huggingface_hub, which knows faster ways to its own files, resumes and shows its own bar."""
    from huggingface_hub import errors, hf_hub_download

    page = f"https://huggingface.co/{repo}"
    try:
        return Path(hf_hub_download(repo, file, revision=revision, local_dir=folder))
    except errors.GatedRepoError:
        raise InputError(
            f"{page} does not give its files to everybody: open it, agree to the licence there, log in with "
            "`hf auth login`, and try again"
        ) from None
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise InputError(
                f"huggingface.co cannot be reached: go online and try again{_also(otherwise)}"
            ) from None
        raise InputError(f"{file} is not at {page} any more{_also(otherwise)}") from None
    except errors.HfHubHTTPError as error:
        raise InputError(f"{page} answers with an error ({error}): try again later") from None
