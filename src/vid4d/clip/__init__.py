"""Clips: T frames of one object, read from a video, GIF or pictures, cut out, with their times."""
