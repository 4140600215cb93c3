"""The panel beside a run: the clip, the controls, numbers, and what can be taken along."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from html import escape
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vid4d.errors import InputError
from vid4d.export.formats import FORMATS
from vid4d.media.images import over_white_uint8
from vid4d.viewer import downloads
from vid4d.viewer.clock import Clock
from vid4d.viewer.content import Content
from vid4d.viewer.look import BACKGROUNDS, Look

SPEEDS = {"1/4 x": 0.25, "1/2 x": 0.5, "1 x": 1.0, "2 x": 2.0, "4 x": 4.0}
BRAND = (194, 87, 26)
WIDTH, NARROW = 320.0, 250.0
PICTURE = 256


@runtime_checkable
class PanelHost(Protocol):
    """Interface of the page that a panel belongs to."""

    server: Any
    content: Content
    clock: Clock
    look: Look

    def show(self, time: float) -> None: ...

    def change(self, **changes: Any) -> None: ...

    def splats_at(self, index: int) -> int: ...

    def meshes_made(self) -> int: ...


class Panel:
    """Controls and numbers beside a run.

    leads: with controls. several: one of several pages, so that there is less room.
    """

    def __init__(self, page: PanelHost, *, leads: bool, several: bool) -> None:
        self.page = page
        self.gui: Any = page.server.gui
        self._busy = threading.Lock()
        self._clip: Any = None
        self._frame: Any = None
        self._view: int | None = None
        self._view_label = ""
        self._matrix_picture: Any = None
        self._message = ""
        self._slider: Any = None
        self._text: Any = None
        self.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=BRAND)
        self.gui.set_panel_label(page.content.name)
        self.gui.main_panel.dock_right()
        self.gui.main_panel.set_width(NARROW if several else WIDTH)
        self._add_clip()
        if leads:
            self._add_time()
            self._add_look()
        self._text = self.gui.add_markdown("")
        if leads:
            self._add_take()

    def show(self, time: float, index: int) -> None:
        """Time in [0, 1], and the moment's index."""
        content = self.page.content
        if self._slider is not None:
            self._slider.value = round(time, 2)
            self._label_play()
        frame = content.clip_frame(time)
        if self._clip is not None and frame is not None and not np.array_equal(frame, self._frame):
            self._frame = frame
            self._clip.content = picture_html(frame, "the clip")
        if self._view is not None:
            html = picture_html(over_white_uint8(content.matrix_pictures(time)[self._view]), self._view_label)
            if html != self._matrix_picture.content:
                self._matrix_picture.content = html
        self._write(index)

    def show_look(self, look: Look) -> None:
        """Puts the controls where the look is."""
        if self._slider is not None:
            self._kind.value, self._background.value = look.kind, look.background
            self._cameras.value, self._pictures.value = look.cameras, look.pictures
            self._pictures.disabled = not look.cameras

    def show_view(self, view: int) -> None:
        """Keeps the image matrix's picture of a view in the panel from now on."""
        content = self.page.content
        if content.matrix is None:
            return
        camera = content.matrix.cameras[view]
        azimuth, elevation = float(camera.azimuth[0]), float(camera.elevation[0])
        self._view_label = f"image matrix, {azimuth:.4g}° around, {elevation:.3g}° up"
        self._view = view
        self._matrix_picture.visible = True
        self.page.show(self.page.clock.time)

    def say(self, text: str) -> None:
        """A line under the numbers."""
        self._message = text

    def _add_clip(self) -> None:
        content = self.page.content
        frame = content.clip_frame(0.0)
        if frame is not None:
            self._frame = frame
            self._clip = self.gui.add_html(picture_html(frame, "the clip"))
        self._matrix_picture = self.gui.add_html("", visible=False)

    def _add_time(self) -> None:
        clock, gui = self.page.clock, self.gui
        self._slider = gui.add_slider("time", 0.0, 1.0, 0.01, 0.0, hint="0 is the clip's start, 1 its end")
        self._play = gui.add_button("pause", icon="player-pause")
        self._play_shown = True
        speed = gui.add_dropdown("speed", tuple(SPEEDS), initial_value="1 x")

        @self._slider.on_update
        def _(event: Any) -> None:
            if event.client is not None:
                clock.seek(event.target.value)

        @self._play.on_click
        def _(event: Any) -> None:
            clock.play(not clock.playing)

        @speed.on_update
        def _(event: Any) -> None:
            clock.run_at(SPEEDS[event.target.value])

    def _label_play(self) -> None:
        playing = self.page.clock.playing
        if playing != self._play_shown:
            self._play_shown = playing
            self._play.label = "pause" if playing else "play"
            self._play.icon = "player-pause" if playing else "player-play"

    def _add_look(self) -> None:

        gui, page = self.gui, self.page
        self._kind = gui.add_dropdown("show", ("splats", "mesh", "normals"), initial_value="splats")
        self._background = gui.add_dropdown("background", tuple(BACKGROUNDS), initial_value="white")
        has_matrix = page.content.matrix is not None
        self._cameras = gui.add_checkbox(
            "cameras", False, visible=has_matrix, hint="of the image matrix; click one to look through it"
        )
        self._pictures = gui.add_checkbox("their pictures", False, visible=has_matrix, disabled=True)

        def changed(handle: Any, name: str) -> None:
            @handle.on_update
            def _(event: Any) -> None:
                if event.client is not None:
                    page.change(**{name: event.target.value})

        changed(self._kind, "kind")
        changed(self._background, "background")
        changed(self._cameras, "cameras")
        changed(self._pictures, "pictures")

    def _add_take(self) -> None:
        gui, page = self.gui, self.page
        with gui.add_folder("take along"):
            shot = gui.add_button("screenshot", icon="camera")
            turn = gui.add_button("turntable", icon="rotate-360", hint="an MP4 from this height")
            to = gui.add_dropdown("format", tuple(FORMATS), initial_value="html")
            send = gui.add_button("export", icon="download")

        def picture(client: Any) -> tuple[str, bytes]:

            camera = client.camera
            screenshot = client.get_render(
                camera.image_height, camera.image_width, transport_format="png", timeout=30
            )
            name = f"{page.content.name}-{page.clock.time:.2f}.png"
            return name, downloads.screenshot(screenshot, BACKGROUNDS[page.look.background])

        self._button(shot, "screenshot", picture)
        self._button(
            turn,
            "turntable",
            lambda client: downloads.turntable(page.content.asset, page.content.name, client.camera.position),
        )
        self._button(
            send, "export", lambda client: downloads.exported(page.content.asset, page.content.name, to.value)
        )

    def _button(self, button: Any, what: str, make: Callable[[Any], tuple[str, bytes]]) -> None:
        """Makes something for the visitor who clicked, and sends it; one at a time."""

        @button.on_click
        def _(event: Any) -> None:
            client = event.client
            if client is None or not self._busy.acquire(blocking=False):
                return
            button.disabled = True
            note = client.add_notification(what, "one moment ...", loading=True, with_close_button=False)
            try:
                name, data = make(client)
                client.send_file_download(name, data, save_immediately=True)
                note.remove()
            except (InputError, OSError, TimeoutError) as error:
                note.remove()
                client.add_notification(f"no {what}", str(error), color=(213, 69, 44), auto_close_seconds=12)
            finally:
                button.disabled = False
                self._busy.release()

    def _write(self, index: int) -> None:
        if self._text is None:
            return
        page = self.page
        content, asset = page.content, page.content.asset
        seconds = content.times[index] * asset.seconds
        lines = [
            f"**{page.splats_at(index):,}** of {len(asset.gaussians):,} splats now  ",
            f"{seconds:.2f} s of {asset.seconds:.3g} s, moment {index + 1} of {len(content.times)}  ",
            ", ".join(f"{name} {size / (1 << 20):.1f} MiB" for name, size in content.sizes.items()),
        ]
        if page.look.kind != "splats" and page.meshes_made() < len(content.times):
            lines.append(f"  \nmeshes: {page.meshes_made()} of {len(content.times)} made")
        if self._message:
            lines.append(f"  \n{self._message}")
        text = "\n".join(lines)
        if text != self._text.content:
            self._text.content = text


def picture_html(rgb: UInt8[np.ndarray, "h w 3"], words: str) -> str:
    """A picture that needs no request (viser loses its own while it docks the panel), and words under it."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "jpeg", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure style="margin:0 auto;max-width:{PICTURE}px"><img alt="{escape(words)}" '
        f'src="data:image/jpeg;base64,{data}" style="display:block;width:100%">'
        '<figcaption style="font-size:12px;text-align:center;opacity:0.6;padding-bottom:6px">'
        f"{escape(words)}</figcaption></figure>"
    )
