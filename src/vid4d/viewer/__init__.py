"""`vid4d view`: runs in a browser, live; several side by side with cameras and time linked.

content.py says what a run has to show, clock.py how time goes on, camera_sync.py which camera leads the
others, page.py draws one run with viser, split_view.py puts several pages side by side, viewer.py holds them
together.
"""

from vid4d.viewer.viewer import Viewer, view

__all__ = ["Viewer", "view"]
