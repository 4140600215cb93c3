"""The app as a Hugging Face Space (docs/app.md): `vid4d app --public`, where a Space looks for it."""

from __future__ import annotations

import os

from vid4d.app.serve import App

if __name__ == "__main__":
    with App(os.environ.get("VID4D_RUNS", "runs"), host="0.0.0.0", port=7860, public=True) as app:
        print(f"open {app.url}", flush=True)
        app.wait()
