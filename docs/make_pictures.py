"""Makes the pictures of README and docs from a finished run: `python docs/make_pictures.py runs/demo`.

images/hopper_contact.jpg    the run's contact sheet
images/hero.webp             the clip beside the asset, which is turned while time plays
images/report.jpg            the top of its report       (these three need a Chromium; each in a window of
images/player.jpg            its player                   1280 pixels and on a phone of 390)
images/overlay.jpg           the clip over the asset, in that report
images/viewer.jpg            the viewer, with the cameras of the image matrix
images/app.jpg               the app, with that run opened (needs Gradio, too)
images/made_up.jpg           made-up things that priors are trained on (no run needed for it)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image, ImageDraw, ImageFont
from tyro.conf import Positional

import vid4d
from vid4d.cameras import Cameras
from vid4d.matrix.io import load_matrix
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.training.made_up.things import thing
from vid4d.training.mesh_render import fit_to_frame, render_meshes
from vid4d.training.meshes import MeshBank
from vid4d.viewer import Viewer
from vid4d.viewer.content import Content

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from browser import Browser, find_browser

IMAGES = Path(__file__).parent / "images"
CELL, HERO_FRAMES = 240, 36
AZIMUTHS = (0.0, 45.0, 180.0)
WIDTHS, HEIGHT, GAP = (1280, 390), 800, 24


def hero(run: str) -> Path:
    """Frames: the clip; the asset from its side, from two others, and from a camera that goes around."""
    asset, matrix = vid4d.load(run), load_matrix(Path(run) / "matrix")
    content = Content.open(run)
    loops = max(1, round(3.0 / max(asset.seconds, 0.1)))
    font = ImageFont.load_default(15)
    camera = matrix.input_camera
    elevation = 15.0 if camera is None else float(camera.elevation[0])
    frames = []
    for i in range(HERO_FRAMES):
        share = i / HERO_FRAMES
        t = share * loops % 1.0
        cameras = vid4d.Cameras.orbit([*AZIMUTHS, 360 * share], elevation, size=CELL)
        rendered = asset.render(cameras, t, background=1.0).cpu().numpy()
        pictures = [Image.fromarray(np.rint(p * 255).astype(np.uint8)) for p in rendered]
        clip = content.clip_frame(t)
        if clip is not None:
            pictures.insert(0, Image.fromarray(clip).resize((CELL, CELL), Image.Resampling.LANCZOS))
        words = ["the clip", "its side", "45°", "180°", "all around"][-len(pictures) :]
        sheet = Image.new("RGB", (CELL * len(pictures), CELL + 26), "white")
        draw = ImageDraw.Draw(sheet)
        for j, (picture, word) in enumerate(zip(pictures, words, strict=True)):
            sheet.paste(picture, (j * CELL, 0))
            draw.text(((j + 0.5) * CELL, CELL + 10), word, (90, 98, 108), font, anchor="mm")
        frames.append(sheet)
    each = round(1000 * loops * asset.seconds / HERO_FRAMES)
    path = IMAGES / "hero.webp"
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=max(each, 40), loop=0, quality=70, method=6
    )
    return path


def contact(run: str) -> Path:
    path = IMAGES / "hopper_contact.jpg"
    with Image.open(Path(run) / "contact.png") as image:
        image.convert("RGB").save(path, quality=88)
    return path


def made_up(count: int = 36, first: int = 100) -> Path:
    """Made-up things, each from its front left and from behind."""
    numbers = torch.arange(count)
    bank, pictures = MeshBank([thing(first + i) for i in range(count)]), []
    for azimuth in (35.0, 160.0):
        cameras = Cameras.orbit([azimuth] * count, 15.0, size=112)
        batch = fit_to_frame(bank.batch(numbers, numbers % 16), cameras)
        pictures.append(over_white(render_meshes(batch, cameras, numbers)))
    path = IMAGES / "made_up.jpg"
    page = to_uint8(side_by_side(torch.stack(pictures, 1).flatten(0, 1), 12))
    Image.fromarray(page).save(path, quality=85)
    return path


def shots(name: str, program: str, shoot: Callable[[Browser], object]) -> Path:
    """What a page looks like in a window and on a phone, side by side. shoot: opens it."""
    page = Image.new("RGB", (sum(WIDTHS) + 3 * GAP, HEIGHT + 2 * GAP), (212, 216, 222))
    left = GAP
    for width in WIDTHS:
        with Browser(program, width, HEIGHT) as browser:
            screen = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width == WIDTHS[1]}
            browser.send("Emulation.setDeviceMetricsOverride", **screen)
            shoot(browser)
            page.paste(Image.fromarray(browser.screenshot()), (left, GAP))
        left += width + GAP
    path = IMAGES / name
    page.save(path, quality=85)
    return path


def report(run: str, program: str) -> Path:
    def shoot(browser: Browser) -> None:
        browser.send("Page.navigate", url=(Path(run) / "report.html").resolve().as_uri())
        browser.wait_until("document.querySelector('video').readyState >= 2")
        # Paused, a video shows its controls.
        browser.evaluate(
            "v = document.querySelector('video'); v.playbackRate = 0.07; v.currentTime = v.duration * 0.9"
        )
        time.sleep(2)

    return shots("report.jpg", program, shoot)


def overlay(run: str, program: str) -> Path:
    def shoot(browser: Browser) -> None:
        browser.send("Page.navigate", url=(Path(run) / "report.html").resolve().as_uri())
        browser.wait_until("document.querySelector('.over').dataset.drawn !== undefined")
        browser.evaluate("document.querySelector('.over button').click()")
        browser.evaluate("when = document.querySelector('.when'); when.value = 7; when.oninput()")
        browser.evaluate("document.querySelector('.over').parentNode.scrollIntoView({block: 'center'})")
        time.sleep(1)

    return shots("overlay.jpg", program, shoot)


def player(run: str, program: str) -> Path:
    def shoot(browser: Browser) -> None:
        browser.send("Page.navigate", url=(Path(run) / "player.html").resolve().as_uri())
        browser.wait_until("window.player !== undefined && player.drawn > 0")
        browser.evaluate("player.seek(0.5)")
        time.sleep(2)

    return shots("player.jpg", program, shoot)


def viewer(run: str, program: str) -> Path:
    def shoot(browser: Browser) -> None:
        browser.send("Page.navigate", url=shown.url)
        browser.wait_until("document.querySelectorAll('canvas').length > 0")
        time.sleep(10)
        shown.pages[0].change(cameras=True, pictures=True)
        time.sleep(6)
        for client in shown.pages[0].server.get_clients().values():
            camera = vid4d.Cameras.orbit([40.0], 52.0, distance=3.3).position[0].double().numpy()
            client.camera.position, client.camera.look_at = camera, np.zeros(3)
        browser.evaluate(
            "[...document.querySelectorAll('.mantine-Notification-closeButton')].forEach(b => b.click())"
        )
        time.sleep(6)

    with Viewer([run], port=0, playing=False) as shown:
        return shots("viewer.jpg", program, shoot)


def app(run: str, program: str) -> Path:
    from vid4d.app.serve import App

    def shoot(browser: Browser) -> None:
        browser.send("Page.navigate", url=shown.url)
        field = "[...document.querySelectorAll('input')].find(e => e.ariaLabel == 'Earlier runs')"
        browser.wait_until(f"!!{field}")
        time.sleep(2)
        browser.evaluate(f"{field}.focus()")
        for key in (*Path(run).resolve().name, "ArrowDown", "Enter"):  # typing filters the list
            text = {"text": key} if len(key) == 1 else {}
            code = {"ArrowDown": 40, "Enter": 13}.get(key, 0)
            browser.send(
                "Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text
            )
            browser.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
            time.sleep(0.3)
        browser.wait_until("!!document.querySelector('iframe')")
        time.sleep(6)
        browser.evaluate(
            "innerWidth < 600 && document.querySelector('iframe').scrollIntoView({block: 'end'})"
        )
        time.sleep(1)

    with App(Path(run).resolve().parent, port=0) as shown:
        return shots("app.jpg", program, shoot)


def main(run: Positional[str] = "runs/demo") -> None:
    """run: the folder of a finished run of examples/hopper.mp4."""
    torch.set_grad_enabled(False)
    files = [contact(run), hero(run), made_up()]
    program = find_browser()
    if program is None:
        print("no Chromium on this machine: report, overlay, player and viewer stay as they are")
    else:
        files += [page(run, program) for page in (report, overlay, player, viewer)]
        if find_spec("gradio") is None:
            print("no Gradio in this environment: app.jpg stays as it is")
        else:
            files.append(app(run, program))
    for path in files:
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    tyro.cli(main)
