import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.matrix.io import detect_layout, load_matrix, save_matrix
from vid4d.matrix.matrix import ImageMatrix, TrustedView
from vid4d.media.keying import remove_border_background
from vid4d.media.video import write_mp4


def make_matrix(views=4, times=3, size=24, seed=0):
    """Random 8-bit images and 16-bit confidence: what the folder holds without loss."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (views, times, size, size, 4), generator=g) / 255
    confidence = torch.randint(0, 65536, (views, times, size, size), generator=g) / 65535
    return ImageMatrix(
        images,
        Cameras.ring(views, size=size),
        torch.linspace(0, 1, times) ** 2,
        confidence=confidence,
        input_images=torch.randint(0, 256, (2, 20, 20, 4), generator=g) / 255,
        input_camera=Cameras.orbit([0.0], 5.0, size=20),
        input_times=torch.tensor([0.0, 1.0]),
        seconds=2.5,
        cyclic=True,
        also=(
            TrustedView(
                torch.randint(0, 256, (3, 16, 16, 4), generator=g) / 255,
                Cameras.orbit([90.0], 20.0, size=16),
                torch.tensor([0.0, 0.25, 0.5]),
            ),
        ),
    )


def disc(size=32, shift=0, color=(1.0, 0.2, 0.1), background=1.0):
    """An opaque picture of a disc, 8 bits."""
    y, x = np.mgrid[:size, :size] + 0.5
    inside = (x - size / 2 - shift) ** 2 + (y - size / 2) ** 2 < (size / 4) ** 2
    return (np.where(inside[..., None], color, background) * 255).astype(np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_saving_and_loading_gives_the_matrix_back(tmp_path):
    matrix = make_matrix()
    save_matrix(matrix, tmp_path / "m")
    assert detect_layout(tmp_path / "m") == "cameras-json"
    back = load_matrix(tmp_path / "m")
    for name in ("images", "times", "input_images", "input_times"):
        assert torch.equal(getattr(back, name), getattr(matrix, name)), name
    assert torch.allclose(back.confidence, matrix.confidence, atol=1e-7)
    assert torch.equal(back.cameras.world_to_camera, matrix.cameras.world_to_camera)
    assert torch.equal(back.input_camera.world_to_camera, matrix.input_camera.world_to_camera)
    assert (back.seconds, back.cyclic) == (2.5, True)
    (view,), (given,) = back.also, matrix.also
    assert torch.equal(view.images, given.images)
    assert torch.equal(view.times, given.times)
    assert torch.equal(view.camera.world_to_camera, given.camera.world_to_camera)
    save_matrix(replace(matrix, confidence=None), tmp_path / "m")
    assert load_matrix(tmp_path / "m").confidence is None


def test_saving_refuses_a_folder_with_other_things(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(InputError, match="something else"):
        save_matrix(make_matrix(), tmp_path)
    assert (tmp_path / "precious.txt").exists()


def test_an_interrupted_save_leaves_the_old_matrix(tmp_path, monkeypatch):
    old, new = make_matrix(seed=0), make_matrix(seed=1)
    save_matrix(old, tmp_path / "m")
    monkeypatch.setattr("vid4d.matrix.io._view_to_json", lambda camera: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_matrix(new, tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert torch.equal(load_matrix(tmp_path / "m").images, old.images)


def test_a_camera_inside_of_the_object_is_named(tmp_path):
    matrix = make_matrix()
    matrix.cameras.world_to_camera[1, :3, 3] = 0
    with pytest.raises(InputError, match=r"Camera 1 .* in the object's middle"):
        save_matrix(matrix, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["images", "confidence"])
def test_nan_is_named(tmp_path, name):
    matrix = make_matrix()
    getattr(matrix, name)[1, 2, 3] = math.nan
    with pytest.raises(InputError, match=rf"NaN.*{name}.*\(1, 2\)"):
        save_matrix(matrix, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_hand_written_cameras_json_with_one_file_per_image(tmp_path):
    for v in range(2):
        for t in range(3):
            write(tmp_path / f"view{v}" / f"{t}.png", disc(shift=2 * t))
    meta = {
        "views": [{"azimuth": 0, "elevation": 10}, {"azimuth": 90, "elevation": 10, "distance": 2}],
        "fov": 60,
        "images": "view{view}/{time}.png",
    }
    (tmp_path / "cameras.json").write_text(json.dumps(meta))
    matrix = load_matrix(tmp_path)
    assert matrix.images.shape == (2, 3, 32, 32, 4)
    assert matrix.times.tolist() == [0, 0.5, 1]
    assert matrix.cameras.azimuth.tolist() == pytest.approx([0, 90], abs=1e-3)
    assert matrix.cameras.position.norm(dim=-1).tolist() == pytest.approx([1.5, 2])
    assert matrix.cameras.focal[0].item() == pytest.approx(16 / math.tan(math.radians(30)))
    centre = matrix.images[0, 2, :, :, 3].nonzero().float().mean(0)
    assert centre.tolist() == pytest.approx([15.5, 19.5], abs=0.2)


def test_keying_keeps_white_inside_the_object():
    picture = disc(64)
    picture[30:34, 30:34] = 255  # a white spot inside
    rgba = remove_border_background(picture)
    assert rgba[32, 32].tolist() == [255, 255, 255, 255]
    assert rgba[0, 0, 3] == 0
    assert rgba[20, 32, 3] == 255
    inside = (disc(64)[..., 1] < 128).mean()
    assert abs((rgba[..., 3] > 127).mean() - inside) < 0.01


def test_efficient4d_strips_and_confidence(tmp_path):
    for t in range(3):
        write(tmp_path / "data" / f"{t:02d}.png", np.concatenate([disc(shift=v % 3) for v in range(16)], 1))
        write(tmp_path / "data" / "conf_map" / f"{t:02d}_ssim.png", np.full((32, 512), 51 * t, np.uint8))
    assert detect_layout(tmp_path) == "efficient4d"
    matrix = load_matrix(tmp_path)
    assert matrix.images.shape == (16, 3, 32, 32, 4)
    assert matrix.confidence[:, 2].unique().tolist() == pytest.approx([0.4])
    assert matrix.cameras.azimuth[4].item() == pytest.approx(90, abs=1e-3)
    for v in (0, 1, 2):
        columns = matrix.images[v, 0, :, :, 3].nonzero()[:, 1].float().mean()
        assert columns.item() == pytest.approx(15.5 + v, abs=0.2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_transforms_give_the_cameras_they_were_made_from(tmp_path, mirrored):
    cameras = Cameras.orbit([0.0, 120.0, 240.0], 20.0, size=32)
    frames = []
    for t in (0, 1):
        for v in range(3):
            write(tmp_path / f"{t}" / f"rgb-{v}.png", disc(shift=v))
            to_world = torch.linalg.inv(cameras.world_to_camera[v])
            to_world[:, 1:3] *= -1  # OpenGL
            if mirrored:
                to_world[:, 0] *= -1
            frames.append(
                {"file_path": f"{t}/rgb-{v}.png", "transform_matrix": to_world.tolist(), "time": t / 30}
            )
    meta = {"fl_x": 35.0, "fl_y": 35.0, "cx": 16, "cy": 16, "frames": frames}
    (tmp_path / "transforms_train.json").write_text(json.dumps(meta))
    matrix = load_matrix(tmp_path)
    assert torch.allclose(matrix.cameras.world_to_camera, cameras.world_to_camera, atol=1e-4)
    assert matrix.cameras.focal.tolist() == pytest.approx([35.0] * 3)
    assert matrix.times.tolist() == [0, 1]
    meta["frames"] = frames[:-1]
    (tmp_path / "transforms_train.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="every camera at every time"):
        load_matrix(tmp_path)


def test_zero123plus_grids(tmp_path):
    for t in range(2):
        rows = [np.concatenate([disc(background=0.5, shift=r + c) for c in (0, 1)], 1) for r in range(3)]
        write(tmp_path / f"frame{t}.png", np.concatenate(rows))
    assert detect_layout(tmp_path) == "zero123plus-v1.2"
    matrix = load_matrix(tmp_path)
    assert matrix.images.shape == (6, 2, 32, 32, 4)
    assert matrix.cameras.azimuth.tolist() == pytest.approx([30, 90, 150, 210, 270, 330], abs=1e-3)
    assert matrix.cameras.elevation.tolist() == pytest.approx([20, -10] * 3, abs=1e-3)
    assert matrix.images[0, 0, 0, 0, 3] == 0
    older = load_matrix(tmp_path, layout="zero123plus-v1.1")
    assert older.cameras.elevation.tolist() == pytest.approx([30, -20] * 3, abs=1e-3)


def test_sv4d_videos(tmp_path):
    import av

    for v in range(5):
        with av.open(str(tmp_path / f"000000_v{v:03d}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 64
            stream.bit_rate = 4_000_000
            for t in range(3):
                frame = av.VideoFrame.from_ndarray(disc(64, shift=3 * t), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    assert detect_layout(tmp_path) == "sv4d2"
    matrix = load_matrix(tmp_path)
    assert matrix.images.shape == (5, 3, 64, 64, 4)
    assert matrix.cameras.azimuth.tolist() == pytest.approx([0, 60, 120, 180, 240], abs=1e-3)
    assert matrix.seconds == pytest.approx(0.3)
    assert matrix.input_images.shape == (3, 64, 64, 4)
    shift = [matrix.images[1, t, :, :, 3].nonzero()[:, 1].float().mean().item() for t in (0, 2)]
    assert shift[1] - shift[0] == pytest.approx(6, abs=0.5)
    (tmp_path / "000000_v002.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        load_matrix(tmp_path)


def test_sv4d_without_view_0_has_its_input_beside(tmp_path):
    pictures = np.stack([disc(64, shift=3 * t) for t in range(3)])
    for v in range(1, 5):
        write_mp4(tmp_path / f"000000_v{v:03d}.mp4", pictures, fps=10)
    write_mp4(tmp_path / "000000_process_input.mp4", pictures, fps=10)
    matrix = load_matrix(tmp_path)
    assert matrix.cameras.azimuth.tolist() == pytest.approx([60, 120, 180, 240], abs=1e-3)
    assert matrix.input_images.shape == (3, 64, 64, 4)
    assert matrix.input_camera.azimuth.tolist() == pytest.approx([0], abs=1e-3)
    write_mp4(tmp_path / "000000_process_input.mp4", pictures[:2], fps=10)
    with pytest.raises(InputError, match="has 2 frames, the views beside it 3"):
        load_matrix(tmp_path)


def test_stag4d_folders(tmp_path):
    for t in (2, 10):  # in natural order
        (tmp_path / "zero123" / f"{t}_rgba").mkdir(parents=True)
        for view in range(6):
            write(tmp_path / "zero123" / f"{t}_rgba" / f"{view}.png", disc(background=0.5, shift=t))
    (tmp_path / "ref").mkdir()
    assert detect_layout(tmp_path) == "stag4d"
    matrix = load_matrix(tmp_path)
    assert matrix.images.shape == (6, 2, 32, 32, 4)
    assert matrix.cameras.elevation.tolist() == pytest.approx([30, -20] * 3, abs=1e-3)
    other = load_matrix(tmp_path, layout="stag4d-v1.2")
    assert other.cameras.elevation.tolist() == pytest.approx([20, -10] * 3, abs=1e-3)
    where = [matrix.images[0, t, :, :, 3].nonzero()[:, 1].float().mean() for t in (0, 1)]
    assert where[0] < where[1]
    (tmp_path / "zero123" / "2_rgba" / "4.png").unlink()
    with pytest.raises(InputError, match=r"4\.png is missing"):
        load_matrix(tmp_path)


def ours_with(tmp_path, change):
    save_matrix(make_matrix(), tmp_path / "m")
    file = tmp_path / "m" / "cameras.json"
    meta = json.loads(file.read_text())
    change(meta, tmp_path / "m")
    file.write_text(json.dumps(meta))
    return tmp_path / "m"


BROKEN = {
    "lacks 'views'": lambda m, p: m.pop("views"),
    "lacks 'images'": lambda m, p: m.pop("images"),
    "is no camera": lambda m, p: m["views"][1].pop("world_to_camera") and m["views"][1].pop("azimuth"),
    "not a rigid": lambda m, p: m["views"][0].update(
        world_to_camera=torch.diag(torch.tensor([2.0, 1, 1, 1])).tolist()
    ),
    "focal.* must be": lambda m, p: m["views"][0].update(focal=math.nan),
    r"'views.+.fov' must be": lambda m, p: m["views"][0].update(fov=180),
    r"'views.+.focal' must be": lambda m, p: m["views"][0].update(focal=0),
    "a focal length of": lambda m, p: m["views"][0].update(focal=1e-3),
    r"'views.+.elevation'": lambda m, p: m["views"][0].update(elevation=100),
    r"'views.+.world_to_camera' must be": lambda m, p: m["views"][0].update(world_to_camera=[]),
    "View 0 in .* not a rigid": lambda m, p: m["views"][0].update(world_to_camera=[[0] * 4] * 4),
    "'seconds' must be a number <= 86400": lambda m, p: m.update(seconds=1e6),
    "'cyclic' must be true or false, not text": lambda m, p: m.update(cyclic="false"),
    "'input.camera' must be an object": lambda m, p: m["input"].update(camera=7),
    "lists 2": lambda m, p: m.update(times=[0, 1]),
    "its images 24 x 25 pixels, but they have 24 x 24": lambda m, p: m.update(height=25),
    "says of view 0 20 x 24": lambda m, p: m["views"][0].update(width=20),
    r"this vid4d reads .* use a newer": lambda m, p: m.update(format="vid4d image matrix 2"),
    "do not increase": lambda m, p: m.update(times=[0, 1, 0.5]),
    "divide evenly": lambda m, p: write(p / "images/001.png", disc(33)),
    "mixes pictures": lambda m, p: write(p / "images/001.png", np.zeros((30, 120, 4), np.uint8)),
    "not an image that can be read": lambda m, p: (p / "images/001.png").write_bytes(b"\x89PNG junk"),
    "masks of all views are empty": lambda m, p: write(p / "images/001.png", np.zeros((24, 96, 4), np.uint8)),
    "holds no file": lambda m, p: (p / "images/000.png").unlink(),
}


@pytest.mark.parametrize("message", list(BROKEN))
def test_damage_is_one_clear_sentence(tmp_path, message):
    folder = ours_with(tmp_path, BROKEN[message])
    with pytest.raises(InputError, match=message) as caught:
        load_matrix(folder)
    assert "\n" not in str(caught.value)


def test_unknown_folders(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        load_matrix(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no known image matrix"):
        load_matrix(tmp_path)
    with pytest.raises(InputError, match="no layout"):
        load_matrix(tmp_path, layout="magic")
    save_matrix(make_matrix(), tmp_path / "run" / "matrix")
    with pytest.raises(InputError, match=r"is a run: give its image matrix, .*matrix$"):
        detect_layout(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"camera_angle_x": "0.8"}, "'camera_angle_x' must be a number or null, not text"),
        ({"camera_angle_x": math.pi}, "'camera_angle_x'"),
        ({"camera_angle_x": 0}, "'camera_angle_x'"),
        ({"fl_x": -5}, "'fl_x'"),
        ({"cx": "middle"}, "'cx'"),
        ({"time": "first"}, "'frames.*time'"),
        ({"file_path": 3}, "'frames.*file_path'"),
        ({"transform_matrix": [[0] * 4] * 4}, "no rotation in the transform_matrix"),
        ({"transform_matrix": [[1] * 4]}, "'frames.*transform_matrix'"),
        ({"transform_matrix": [[math.inf] * 4] * 4}, "transform_matrix"),
    ],
)
def test_transforms_that_cannot_be_true_are_refused(tmp_path, change, field):
    write(tmp_path / "a.png", disc(32))
    entry = {"file_path": "a", "time": 0, "transform_matrix": torch.eye(4).tolist()}
    meta = {"camera_angle_x": 0.8, "frames": [entry]}
    for name, value in change.items():
        (entry if name in entry else meta)[name] = value
    (tmp_path / "transforms_train.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=rf"transforms_train\.json.*{field}") as caught:
        load_matrix(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "images/000.png{time!s:.0}",
        "images/{time:2000000000}.png",
        "images/{time:012d}.png",
        "images/{time.real}.png",
        "images/{time[0]}.png",
        "images/{time}{other}.png",
        "images/{time}}.png",
        "images/{{time}}.png",
        "images/{time}\0.png",
        "images/{time:0{view}d}.png",
    ],
)
def test_names_are_a_fixed_grammar_and_no_format_strings(tmp_path, pattern):
    folder = ours_with(tmp_path, lambda m, p: m.update(images=pattern))
    with pytest.raises(InputError, match=r"use \{view\} and \{time\}"):
        load_matrix(folder)


@pytest.mark.parametrize(("pattern", "name"), [("{time}", "2"), ("{time:d}", "2"), ("{time:03d}", "002")])
def test_names_count_as_format_strings_do(tmp_path, pattern, name):
    from vid4d.matrix.io import _fill

    assert _fill(f"a/{pattern}_{{view:02d}}.png", tmp_path, time=2, view=11) == f"a/{name}_11.png"
