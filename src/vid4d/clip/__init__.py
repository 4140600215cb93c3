"""From a video, GIF or pictures to `Clip`: T frames of one object, cut out, with their times."""
