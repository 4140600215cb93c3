"""The time that all pages of a viewer show."""

from __future__ import annotations

import threading


class Clock:
    """Time over the clip in [0, 1], which goes on while it plays, again and again; for several threads.

    seconds: how long one round takes at speed 1.
    """

    def __init__(self, seconds: float, *, playing: bool = True) -> None:
        self.seconds = max(seconds, 0.1)
        self._lock = threading.Lock()
        self._time, self._speed, self._playing = 0.0, 1.0, playing

    @property
    def time(self) -> float:
        with self._lock:
            return self._time

    @property
    def playing(self) -> bool:
        with self._lock:
            return self._playing

    @property
    def speed(self) -> float:
        with self._lock:
            return self._speed

    def play(self, playing: bool) -> None:
        with self._lock:
            self._playing = playing

    def run_at(self, speed: float) -> None:
        """Sets the speed: 1 is the clip's own, 2 is twice as fast; not below 0."""
        with self._lock:
            self._speed = max(0.0, speed)

    def seek(self, time: float) -> None:
        """Goes to a time, cut to [0, 1], and stops there."""
        with self._lock:
            self._time, self._playing = min(max(time, 0.0), 1.0), False

    def advance(self, elapsed: float) -> float:
        """Lets `elapsed` seconds go by; returns the time then."""
        with self._lock:
            if self._playing:
                self._time = (self._time + elapsed * self._speed / self.seconds) % 1.0
            return self._time
