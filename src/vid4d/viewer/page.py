"""One run, drawn with viser: its splats or mesh at a time, the clip beside them, the matrix's cameras."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.errors import InputError
from vid4d.export.splats import fixed_colors
from vid4d.media.images import to_uint8
from vid4d.viewer.camera_sync import Pose
from vid4d.viewer.clock import Clock
from vid4d.viewer.content import Content
from vid4d.viewer.guard import Guard
from vid4d.viewer.look import BACKGROUNDS, Look
from vid4d.viewer.panel import Panel

if TYPE_CHECKING:
    import viser

    from vid4d.meshing.tsdf import Mesh

BYTES_A_SECOND = 30e6
MOST_KEPT = 4_000_000
"""Splats of moments that were shown and are kept, so that they need not be computed again."""
FAR = 2.1
"""Factor by which the camera moves away to see the matrix's cameras."""


class RunPage:
    """A run's page, served until `stop`. on_camera, on_look: called when a visitor changes something.

    guard: whom it answers; this machine alone where not given.
    leads: has the controls; the others of `several` pages follow.
    """

    def __init__(
        self,
        content: Content,
        clock: Clock,
        *,
        host: str,
        port: int,
        guard: Guard | None = None,
        leads: bool = True,
        several: bool = False,
    ) -> None:
        import viser

        self.content, self.clock = content, clock
        self.look = Look()
        self.on_camera: Callable[[RunPage, int, Pose], object] = lambda page, client, pose: None
        self.on_look: Callable[[Look], object] = self.apply
        self._lock = threading.RLock()
        self._shown: dict[str, Any] = {}
        self._meshes: dict[int, Mesh | None] = {}
        self._nodes: dict[tuple[str, int], Any] = {}
        self._kept: dict[int, dict[str, Any]] = {}
        self._sent = -math.inf
        self._stopped = threading.Event()
        self._wanted = threading.Event()
        for name in ("websockets.server", "websockets"):
            logging.getLogger(name).setLevel(logging.ERROR)
        guard = guard or Guard()
        title = f"{content.name} - vid4d"
        with redirect_stdout(StringIO()), guard.watching(title):  # the viewer says itself where to look
            self.server = viser.ViserServer(host=host, port=port, label=content.name, verbose=False)
        self.server.request_share_url = lambda *_, **__: None  # type: ignore[method-assign,assignment]
        self.port: int = self.server.get_port()
        self._prepare_scene()
        self.panel = Panel(self, leads=leads, several=several)
        self.server.on_client_connect(self._connected)
        self._mesher = threading.Thread(target=self._make_meshes, daemon=True)
        self._mesher.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wanted.set()
        with redirect_stdout(StringIO()):
            self.server.stop()
        self._mesher.join(timeout=60)  # a mesh that is being made is finished first

    # What is shown.

    def show(self, time: float) -> None:
        """Shows the moment nearest to a time in [0, 1], in space, in the panel and on the cameras."""
        with self._lock, self.server.atomic():
            self._show(time)

    def apply(self, look: Look) -> None:
        """Changes what is shown, and shows it."""
        with self._lock, self.server.atomic():
            before, self.look = self.look, look
            if look.background != before.background:
                self._paint_background()
            if look.cameras != before.cameras:
                self._show_cameras()
            self._shown.clear()
            self._show(self.clock.time)
            self.panel.show_look(look)
        if look.cameras and not before.cameras:
            self._step_back()
        self._wanted.set()

    def follow(self, pose: Pose) -> None:
        """Moves all visitors' cameras to a pose."""
        for client in self.server.get_clients().values():
            set_pose(client, pose)

    def splats_at(self, index: int) -> int:
        """Number of visible splats at a moment."""
        return int((self._moment(index)["opacities"] > 0).sum())

    def _show(self, time: float) -> None:
        index = self.content.nearest(time)
        key = self._key(index)
        if key != self._shown.get("node") and (key[0] != "splats" or self._may_send()):
            if key[0] == "splats":
                self._splats.set_gaussians(**self._moment(index))
            else:
                self._node(key).visible = True
            self._splats.visible = key[0] == "splats"
            for other, node in self._nodes.items():
                if other != key and node.visible:
                    node.visible = False
            self._shown["node"] = key
        if self.look.cameras and self.look.pictures and self._shown.get("pictures") != index:
            for frustum, picture in zip(self._frusta, self.content.matrix_pictures(time), strict=True):
                frustum.image = picture
            self._shown["pictures"] = index
        self.panel.show(time, index)

    def _may_send(self) -> bool:
        """True where the splats of another moment may go to the browsers: not more than `BYTES_A_SECOND`."""
        now = time.monotonic()
        if now - self._sent < 32 * self.content.most_splats / BYTES_A_SECOND:
            return False
        self._sent = now
        return True

    def _moment(self, index: int) -> dict[str, Any]:
        """The splats of a moment as viser wants them; those that are missing to the largest number are clear,
        so that the browser keeps its textures."""
        if index in self._kept:
            return self._kept[index]
        splats = self.content.splats(index)
        count = self.content.most_splats
        arrays = {
            "centers": splats.means.numpy(),
            "covariances": splats.covariances.numpy(),
            "rgbs": fixed_colors(splats).numpy(),
            "opacities": splats.opacities[:, None].numpy(),
        }
        clear = {k: np.zeros((count - len(splats), *v.shape[1:]), v.dtype) for k, v in arrays.items()}
        padded = {k: np.concatenate([v, clear[k]]) for k, v in arrays.items()}
        if len(self._kept) * count < MOST_KEPT:
            self._kept[index] = padded
        return padded

    def _key(self, index: int) -> tuple[str, int]:
        """The node to show: for meshes, of the nearest moment that has one already."""
        if self.look.kind == "splats":
            return "splats", index
        meshed = [i for i, mesh in self._meshes.items() if mesh is not None]
        if not meshed:
            return "splats", index
        times = self.content.times
        return self.look.kind, min(meshed, key=lambda i: abs(times[i] - times[index]))

    def _node(self, key: tuple[str, int]) -> Any:
        if key not in self._nodes:
            kind, index = key
            mesh = self._meshes[index]
            assert mesh is not None
            colors = mesh.colors if kind == "mesh" else mesh.normals * 0.5 + 0.5
            self._nodes[key] = self._add_mesh(f"/{kind}/{index:03}", mesh, colors)
        return self._nodes[key]

    def _add_mesh(self, name: str, mesh: Mesh, colors: Float[np.ndarray, "v 3"]) -> Any:
        import trimesh

        rgba = np.concatenate([colors, np.ones((len(colors), 1))], 1)
        shape = trimesh.Trimesh(
            mesh.vertices,
            mesh.faces,
            vertex_normals=mesh.normals,
            vertex_colors=to_uint8(rgba),
            process=False,
        )
        return self.server.scene.add_mesh_trimesh(name, shape, visible=False)

    def _prepare_scene(self) -> None:
        scene = self.server.scene
        scene.set_up_direction("+z")
        camera = Cameras.orbit([0.0], self.content.asset.elevation, distance=1.15 * RING_DISTANCE)
        first = self.server.initial_camera
        first.position = camera.position[0].double().numpy()
        first.look_at = np.zeros(3)
        first.fov = 2 * math.atan(camera.height / 2 / float(camera.focal[0]))
        self._paint_background()
        self._splats = scene.add_gaussian_splats("/splats", **self._moment(0))
        self._frusta: list[Any] = []

    def _paint_background(self) -> None:
        color = np.array(BACKGROUNDS[self.look.background], np.uint8)
        self.server.scene.set_background_image(np.tile(color, (4, 4, 1)), format="png")

    def _show_cameras(self) -> None:
        matrix = self.content.matrix
        if matrix is None:
            return
        if not self._frusta:
            from viser import transforms

            cameras = matrix.cameras.to("cpu")
            turned = cameras.rotation.transpose(1, 2).double().numpy()
            for i in range(len(cameras)):
                frustum = self.server.scene.add_camera_frustum(
                    f"/cameras/{i:02}",
                    fov=2 * math.atan(cameras.height / 2 / float(cameras.focal[i])),
                    aspect=cameras.width / cameras.height,
                    scale=0.13,
                    thickness=0.004,
                    color=(194, 87, 26),
                    wxyz=transforms.SO3.from_matrix(turned[i]).wxyz,
                    position=cameras.position[i].double().numpy(),
                    cast_shadow=False,
                    receive_shadow=False,
                )
                frustum.on_click(self._flying_to(i))
                self._frusta.append(frustum)
        for frustum in self._frusta:
            frustum.visible = self.look.cameras
            if not self.look.pictures:
                frustum.image = None

    # Visitors' cameras.

    def _connected(self, client: viser.ClientHandle) -> None:
        def moved(camera: viser.CameraHandle) -> None:
            pose = Pose(camera.position, camera.look_at, camera.fov)
            self.on_camera(self, client.client_id, pose)

        client.camera.on_update(moved)

    def _flying_to(self, view: int) -> Callable[[Any], None]:
        """Handler of a click on a matrix's camera: looks through it and keeps its picture beside."""

        def fly(event: Any) -> None:
            matrix = self.content.matrix
            if event.client is None or matrix is None:
                return
            camera = matrix.cameras[view].to("cpu")
            position = camera.position[0].double().numpy()
            ahead = camera.rotation[0, 2].double().numpy()
            self.panel.show_view(view)
            fov = 2 * math.atan(camera.height / 2 / float(camera.focal[0]))
            glide(event.client, Pose(position, position + ahead * np.linalg.norm(position), fov))

        return fly

    def _step_back(self) -> None:
        for client in self.server.get_clients().values():
            camera = client.camera
            away = camera.position - camera.look_at
            if np.linalg.norm(away) < 1.6 * RING_DISTANCE:
                position = camera.look_at + away / np.linalg.norm(away) * FAR * RING_DISTANCE
                glide(client, Pose(position, camera.look_at, camera.fov))

    # Meshes, in a thread of their own: each takes a second or more.

    def _make_meshes(self) -> None:
        while not self._stopped.is_set():
            self._wanted.wait()
            index = self._next_mesh()
            if index is None or self._stopped.is_set():
                self._wanted.clear()
                continue
            try:
                mesh = self.content.mesh(index)
            except (InputError, ImportError, ValueError) as error:
                mesh = None
                self.panel.say(f"no mesh at this time: {error}")
            with self._lock:
                self._meshes[index] = mesh
                self._shown.pop("node", None)

    def _next_mesh(self) -> int | None:
        """The moment nearest to now that lacks a mesh, ahead of the others; None where none is wanted."""
        if self.look.kind == "splats":
            return None
        now = self.content.nearest(self.clock.time)
        count = len(self.content.times)
        missing = [i for i in range(count) if i not in self._meshes]
        return min(missing, key=lambda i: (i - now) % count, default=None)

    def meshes_made(self) -> int:
        return len(self._meshes)

    def change(self, **changes: Any) -> None:
        """A visitor changed the look of all pages."""
        self.on_look(replace(self.look, **changes))


def set_pose(client: viser.ClientHandle, pose: Pose) -> None:
    """Moves a visitor's camera at once."""
    with client.atomic():
        client.camera.position = pose.position
        client.camera.look_at = pose.look_at
        client.camera.fov = pose.fov


def glide(client: viser.ClientHandle, end: Pose, seconds: float = 0.5, steps: int = 15) -> None:
    """Moves a visitor's camera, around what it looks at rather than through it."""
    start = Pose(client.camera.position.copy(), client.camera.look_at.copy(), client.camera.fov)
    near, far = start.position - start.look_at, end.position - end.look_at
    for i in range(1, steps + 1):
        share = i / steps
        share = share * share * (3 - 2 * share)
        way = near * (1 - share) + far * share
        length = np.linalg.norm(near) * (1 - share) + np.linalg.norm(far) * share
        if i == steps or np.linalg.norm(way) < 1e-6:
            way = far
        else:
            way = way / np.linalg.norm(way) * length
        look_at = start.look_at * (1 - share) + end.look_at * share
        set_pose(client, Pose(look_at + way, look_at, start.fov * (1 - share) + end.fov * share))
        time.sleep(seconds / steps)
