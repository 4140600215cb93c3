"""Arguments that no command takes: one sentence that says what to type instead, and exit code 2."""

from __future__ import annotations

import pytest

from vid4d import cli
from vid4d.commands.usage import usage_sentence

BOX = """╭─ Unrecognized options ─────────────────────────────────╮
│ Unrecognized options: --fames, 8                       │
│ ────────────────────────────────────────────────────── │
│ Perhaps you meant:                                     │
│     --frames INT                                       │
│         Key frames.                                    │
│     --faces INT                                        │
│ ────────────────────────────────────────────────────── │
│ For full helptext, run vid4d --help                    │
╰────────────────────────────────────────────────────────╯"""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("generate x.mp4 --fames 8", "there is no option --fames: did you mean --frames? vid4d generate"),
        ("generate x.mp4 --preset fast", "--preset cannot be 'fast': choose one of draft, standard, high"),
        ("generate x.mp4 --seed", "--seed needs a value"),
        (
            "generate x.mp4 --seed abc",
            "--seed must be a whole number, not 'abc'; vid4d generate --help tells",
        ),
        ("generate x.mp4 --frames=1.5 --seed 1", "--frames must be a whole number, not '1.5'"),
        ("generate x.mp4 --elevation low", "--elevation must be auto or a number, not 'low'"),
        ("evaluate x --turn far --size 9", "--turn must be a number, not 'far'"),
        ("evaluate x --shift a b c", "--shift must be numbers, not 'a b c'"),
        ("evaluate --compare a.json", "--compare takes 2 values, not 'a.json'; vid4d evaluate --help tells"),
        ("render x --azimuth left", "--azimuth cannot be 'left'; vid4d render --help tells"),
        ("generate x.mp4 y.mp4", "'y.mp4' is one argument too many"),
        ("reconstruct x --refine", "vid4d reconstruct has no --refine; vid4d reconstruct --help lists"),
        ("reconstruct x --prior frustum", "vid4d reconstruct has no --prior; vid4d reconstruct --help lists"),
        ("generat x.mp4", "there is no command 'generat': choose one of generate, batch, prepare"),
        ("export", "vid4d export needs RUN and --to"),
        ("weights bogus", "there is no command 'bogus': choose one of list, fetch"),
    ],
)
def test_one_sentence_and_exit_code_2(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments.split())
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("vid4d: ")
    assert sentence in lines[0]


def test_boxes_with_frames_and_with_colors_are_read_alike() -> None:
    expected = "there is no option --fames: did you mean --frames? vid4d generate --help lists them all"
    assert usage_sentence(BOX, ["generate"]) == expected
    colored = BOX.replace("│", "\x1b[31m│\x1b[0m").replace("--fames", "\x1b[1m--fames\x1b[0m")
    assert usage_sentence(colored, ["generate"]) == expected


def test_nothing_is_made_of_nothing() -> None:
    assert usage_sentence("", ["generate"]) is None


def test_help_is_help_still(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["generate", "--help"])
    assert not stop.value.code
    assert "--preset" in capsys.readouterr().out
