"""The page itself, in Gradio: what is dropped, chosen and shown. What it does lies in `vid4d.app.desk`.

A run belongs to the app, not to the page: a timer looks after it, so that the page may be closed, or opened
again, while it goes on.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vid4d.app import words
from vid4d.app.clips import runs_in
from vid4d.app.desk import Choices, Desk, formats
from vid4d.errors import InputError, explained, install_hint

TITLE = "vid4d: a video becomes a 4D asset"
ABOUT = """# vid4d
An ordinary video of one moving object becomes a **4D asset**: a thing you can look at from every side at
every moment. The camera should stand still, before a plain background, with all of the object in the
picture."""
QUALITY = [
    ("draft: see whether mask, sides and motion are right", "draft"),
    ("standard", "standard"),
    ("high: the longest", "high"),
]
METHODS = [
    ("Efficient4D: pictures of all sides, then splats", "efficient4d"),
    ("Consistent4D: a volume optimised under the prior, slower", "consistent4d"),
]
FORMS = [("found out", "auto"), ("yes", "yes"), ("no", "no")]
TICK = 1.0
"""Seconds between two looks at a run."""
FORGOTTEN = 6 * 3600
"""Seconds after which a visitor in public who does nothing more is gone."""


def gradio() -> Any:
    """The package. Raises InputError where it is not installed."""
    try:
        import gradio as gr
    except ImportError:
        raise InputError(f"the app needs Gradio, which is not installed: {install_hint('app')}") from None
    return gr


def told(error: Exception) -> str:
    """The sentence for an error, as the command line has it; of faults of the program, their kind."""
    sentence = explained(error, resumes=True)
    if sentence is None:
        traceback.print_exception(error)
        sentence = f"vid4d made a mistake ({type(error).__name__}: {error}); the terminal tells where"
    return sentence


def look(gr: Any) -> dict[str, Any]:
    """Theme and style: nothing is fetched from elsewhere."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "Menlo", "Consolas", "monospace"]
    return {"theme": gr.themes.Default(primary_hue="orange", font=system, font_mono=mono), "css": words.STYLE}


def build(desk: Desk, example: Path | None = None) -> Any:
    """The page as `gradio.Blocks`. example: a clip that can be tried."""
    gr = gradio()
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        if desk.public:
            forget: Callable[[str], None] = lambda room: desk.leave(Path(room)) if room else None  # noqa: E731
            room = gr.State("", time_to_live=FORGOTTEN, delete_callback=forget)
        else:
            room = gr.State("")
        root, shown, clicks = gr.State(""), gr.State(""), gr.State(())
        shrunk = gr.State(1.0)
        timer = gr.Timer(TICK, active=False)
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                files = gr.File(
                    label="Your clip: a video, a GIF, or pictures",
                    file_count="multiple",
                    file_types=["video", "image"],
                    height=150,
                )
                if example is not None:
                    gr.Examples([[[str(example)]]], files, label="or try this one")
                form = _form(gr)
                with gr.Row():
                    make = gr.Button("Make the asset", variant="primary", min_width=140)
                    stop = gr.Button("Stop", variant="stop", visible=False, min_width=90)
                    resume = gr.Button("Resume", visible=False, min_width=90)
                earlier = gr.Dropdown([], label="Earlier runs", visible=not desk.public, interactive=True)
            with gr.Column(scale=3, min_width=320):
                status = gr.HTML()
                with gr.Column(visible=False) as result, gr.Tabs():
                    with gr.Tab("Turn it"):
                        player = gr.HTML()
                    with gr.Tab("Video"):
                        turntable = gr.Video(interactive=False, autoplay=True, loop=True, show_label=False)
                    with gr.Tab("Sides"):
                        contact = gr.Image(
                            interactive=False,
                            show_label=False,
                            buttons=["download", "fullscreen"],
                            format="png",
                        )
                    with gr.Tab("Files"):
                        to = gr.Dropdown(formats(), value="v4d", label="Format")
                        get = gr.Button("Make the file")
                        file = gr.File(label="The file", interactive=False)
                        report = gr.File(
                            label="The report: one page that tells everything", interactive=False
                        )
                with gr.Column(visible=False) as cut:
                    first = gr.Image(
                        label="The first frame; click on the object where it is not what is marked",
                        interactive=False,
                        buttons=["fullscreen"],
                        format="png",
                    )
                    strip = gr.Image(
                        show_label=False, interactive=False, buttons=["fullscreen"], format="png"
                    )
                hints = gr.HTML(padding=True)

        watched = [status, timer, stop, resume, make, result, player, turntable, contact, report, shown]
        prepared = [cut, first, strip, hints, shrunk, clicks]
        choices = [*form, clicks]

        def come_in() -> list[Any]:
            place = desk.enter()
            job = None if desk.public else desk.jobs.latest
            return [str(place), "" if job is None else str(job.root), _earlier(gr, desk, place)]

        def watch(of: str, seen: str) -> list[Any]:
            return _watched(gr, desk, of, seen)

        def prepare(place: str, given: Sequence[str] | None, *chosen: Any) -> list[Any]:
            if not given:
                return [gr.update(visible=False), None, None, "", 1.0, ()]
            try:
                found = desk.prepare(Path(place), given, _choices(chosen))
            except Exception as error:
                said, missed = words.error_html(told(error)), bool(chosen[-1])
                if missed:  # the picture stays, for another click
                    return [gr.update(), gr.update(), gr.update(), said, gr.update(), ()]
                return [gr.update(visible=False), None, None, said, 1.0, ()]
            said = words.hints_html(found.facts, found.hints)
            return [gr.update(visible=True), found.first, found.strip, said, found.shrunk, chosen[-1]]

        def point(at: Any, scale: float) -> tuple[str, ...]:
            x, y = at.index
            return (f"{x * scale:.0f},{y * scale:.0f}",)

        point.__annotations__["at"] = gr.SelectData  # by which Gradio knows what to pass

        def begin(place: str, given: Sequence[str] | None, *chosen: Any) -> list[Any]:
            try:
                job = desk.make(Path(place), given or [], _choices(chosen))
            except Exception as error:
                return ["", words.error_html(told(error)), gr.update()]
            return [str(job.root), words.job_html(job), gr.update(active=True)]

        def go_on(of: str) -> list[Any]:
            try:
                job = desk.resume(Path(of))
            except Exception as error:
                return [words.error_html(told(error)), gr.update()]
            return [words.job_html(job), gr.update(active=True)]

        def halt(of: str) -> None:
            job = desk.jobs.of(Path(of)) if of else None
            if job is not None:
                job.stop()

        def open_run(name: str | None, place: str) -> str:
            try:
                return str(desk.find(Path(place), name)) if name else ""
            except InputError as error:
                raise gr.Error(str(error), print_exception=False) from None

        def take(of: str, form: str) -> Any:
            try:
                return str(desk.download(Path(of), form))
            except Exception as error:
                raise gr.Error(told(error), print_exception=False) from None

        page.load(come_in, None, [room, root, earlier]).then(watch, [root, shown], watched)
        one_by_one = {"concurrency_limit": 1, "concurrency_id": "work"}
        gr.on([files.change], lambda: (), None, clicks).then(
            prepare, [room, files, *choices], prepared, **one_by_one
        )
        gr.on(
            [c.change for c in form[2:]],
            prepare,
            [room, files, *choices],
            prepared,
            trigger_mode="always_last",
            **one_by_one,
        )
        first.select(point, shrunk, clicks).then(prepare, [room, files, *choices], prepared, **one_by_one)
        make.click(begin, [room, files, *choices], [root, status, timer]).then(
            watch, [root, shown], watched
        ).then(lambda place: _earlier(gr, desk, Path(place)), room, earlier)
        resume.click(go_on, root, [status, timer]).then(watch, [root, shown], watched)
        stop.click(halt, root)
        earlier.input(open_run, [earlier, room], root).then(watch, [root, shown], watched)
        timer.tick(watch, [root, shown], watched, show_progress="hidden")
        get.click(take, [root, to], file, **one_by_one)
    return page


def _form(gr: Any) -> list[Any]:
    """Components, in the order of `Choices` without its clicks."""
    preset = gr.Radio(QUALITY, value="draft", label="Quality")
    method = gr.Radio(METHODS, value="efficient4d", label="Method")
    with gr.Accordion("More", open=False):
        with gr.Row():
            start = gr.Number(None, label="Start, seconds", minimum=0, min_width=110)
            end = gr.Number(None, label="End, seconds", minimum=0, min_width=110)
        elevation = gr.Number(
            None,
            label="The camera looks down, degrees",
            info="Guessed where empty; worth telling",
            minimum=-90,
            maximum=90,
        )
        cyclic = gr.Radio(FORMS, value="auto", label="The clip is a loop")
        follow = gr.Radio(FORMS, value="auto", label="The window follows the object")
        with gr.Row():
            frames = gr.Number(None, label="Key frames", precision=0, minimum=1, min_width=110)
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=110)
        trim = gr.Checkbox(False, label="Take the longest part that shows one thing, uncut")
        held = gr.Checkbox(False, label="Cut off a hand, arm or stick that holds the object")
        keep = gr.Checkbox(False, label="Keep all that the masks show: captions, specks, shadows")
    return [preset, method, start, end, elevation, cyclic, follow, frames, seed, trim, held, keep]


def _choices(values: Sequence[Any]) -> Choices:
    """Of the form's values and the clicks."""
    *chosen, clicks = values
    return Choices(*chosen, click=tuple(clicks))  # type: ignore[misc]


def _earlier(gr: Any, desk: Desk, room: Path) -> Any:
    """The list of earlier runs, which visitors in public do not get."""
    if desk.public:
        return gr.update()
    listed = [(name if done else f"{name} (not finished)", name) for name, done in runs_in(room).items()]
    return gr.update(choices=listed)


def _watched(gr: Any, desk: Desk, of: str, seen: str) -> list[Any]:
    """Updates of all that shows a run. of: its folder, "" for none. seen: the one whose result is shown."""
    nothing, hide = gr.update(), gr.update(visible=False)
    if not of:
        return [
            nothing,
            gr.update(active=False),
            hide,
            hide,
            gr.update(interactive=True),
            hide,
            *[nothing] * 4,
            "",
        ]
    root, job = Path(of), desk.jobs.of(Path(of))
    alive = job is not None and job.alive
    finished = not alive and (root / ".done" / "report").is_file()
    can_resume = not alive and not finished and (root / "settings.json").is_file()
    if job is not None:
        said = words.job_html(job)
    else:
        said = words.state_html(root.name, "finished" if finished else "not finished")
    results: list[Any] = [nothing] * 4
    if finished and seen != of:
        try:
            shown = desk.result(root)
            results = [shown.player, *(None if f is None else str(f) for f in shown[1:])]
        except Exception as error:
            said, finished = words.error_html(told(error)), False
    return [
        said,
        gr.update(active=alive),
        gr.update(visible=alive),
        gr.update(visible=can_resume),
        gr.update(interactive=not alive),
        gr.update(visible=finished),
        *results,
        of if finished else "",
    ]
