"""The page's words; the page itself where Gradio is installed."""

from __future__ import annotations

import asyncio
import http.client
import sys
import threading
from pathlib import Path

import pytest
from command_line import refused

from vid4d.app import page, words
from vid4d.app.desk import Desk
from vid4d.app.job import Job
from vid4d.app.serve import Guarded
from vid4d.errors import InputError
from vid4d.viewer.guard import Guard


def a_job() -> Job:
    job = Job(Path("runs/<b>"), [], threading.Semaphore(1))
    job.hear('{"said": "warning: a <shadow>"}')
    job.hear('{"stage": "frames", "done": 0, "total": null, "left": null, "text": "", "ended": true}')
    job.hear('{"stage": "fit", "done": 1, "total": 4, "left": 65, "text": "loss 2", "ended": false}')
    return job


def test_a_run_is_shown_stage_by_stage_and_escaped():
    job = a_job()
    job.state = "running"
    said = words.job_html(job)
    assert "&lt;b&gt;: working" in said
    assert "a &lt;shadow&gt;" in said
    assert "<b>" not in said
    assert 'style="width: 25.0%"' in said
    assert "1:05 left" in said
    assert "loss 2" in said
    assert said.index("cutting out") < said.index("fitting splats")
    job.state, job.sentence = "failed", "the disk is full"
    said = words.job_html(job)
    assert "the disk is full" in said
    assert "1:05 left" not in said


def test_errors_are_the_command_lines_sentences(capsys):
    assert page.told(InputError("there is no a.mp4")) == "there is no a.mp4"
    assert "the disk is full" in page.told(OSError(28, "No space left on device"))
    assert "a mistake (KeyError: 'a')" in page.told(KeyError("a"))
    assert "KeyError" in capsys.readouterr().err


def test_without_gradio_it_says_how_to_get_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.chdir(tmp_path)
    assert "the app needs Gradio" in refused(capsys, "app")
    assert "device 'mps:7' cannot be used here" in refused(capsys, "app", "--device", "mps:7")
    assert not list(tmp_path.iterdir())


def test_the_page_is_built(tmp_path):
    pytest.importorskip("gradio")
    from vid4d.app.serve import App

    with App(tmp_path / "runs", port=0, example=None) as app:
        for host, status in (("127.0.0.1", 200), ("page.example", 403)):
            line = http.client.HTTPConnection(
                "127.0.0.1", int(app.url.strip("/").rpartition(":")[2]), timeout=20
            )
            line.request("GET", "/config", headers={"Host": host})
            assert line.getresponse().status == status
            line.close()
        labels = {c["props"].get("label") for c in app.page.config["components"]}
        assert {"Quality", "Method", "Earlier runs", "Format"} <= labels
        assert app.password is None


HERE = ("host", "127.0.0.1:7860")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([HERE], 200),
        ([HERE, ("origin", "http://127.0.0.1:7860")], 200),
        ([("host", "localhost:7860")], 200),
        ([("host", "page.example:7860")], 403),  # a page whose name leads here (DNS rebinding)
        ([HERE, ("origin", "http://page.example")], 403),
        ([HERE, ("origin", "http://127.0.0.1:8000")], 403),
        ([HERE, ("origin", "null")], 403),
        ([HERE, ("host", "page.example")], 403),
        ([], 403),
    ],
)
def test_pages_of_other_places_do_not_come_in(headers, status):
    sent: list[dict] = []

    async def gradios_app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "path": "/gradio_api/upload", "headers": given}
    asyncio.run(Guarded(gradios_app, Guard())(scope, None, send))
    assert sent[0]["status"] == status


def test_the_forms_values_are_choices_in_their_order():
    chosen = page._choices(
        ["high", "consistent4d", 1.0, 2.0, 15.0, "no", "yes", 6, 4, True, True, False, ("1,2",)]
    ).settings(Path("a.mp4"))
    assert (chosen.preset, chosen.method, chosen.start, chosen.end) == ("high", "consistent4d", 1.0, 2.0)
    assert (chosen.elevation, chosen.cyclic, chosen.follow, chosen.frames) == (15.0, "no", "yes", 6)
    assert (chosen.seed, chosen.trim, chosen.held, chosen.keep) == (4, "auto", True, False)
    assert chosen.click == ("1,2",)


def test_a_run_of_an_earlier_app_is_looked_at(tmp_path):
    class Gradio:
        @staticmethod
        def update(**changes):
            return changes

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "settings.json").write_text("{}")
    said, timer, stop, resume, make, result, *_, seen = page._watched(
        Gradio, Desk(tmp_path), str(tmp_path / "a"), ""
    )
    assert "a: not finished" in said
    assert (timer["active"], stop["visible"], resume["visible"]) == (False, False, True)
    assert (make["interactive"], result["visible"], seen) == (True, False, "")
