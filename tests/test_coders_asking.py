"""`moppet compare` asks what unknown codes mean where somebody sits at the terminal."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from moppet.coders import Code, Coding, Lane, write_program
from moppet.coders.code_map import Vocabulary, read_map
from moppet.commands.compare import ask_meanings, map_option, matching
from moppet.timeline import TimelineSettings
from moppet.values import EXPRESSIONS, GROUPS, MoppetError
from moppet.vocabulary import SKIP
from report_samples import make_row, make_timeline

WORDS = Vocabulary(EXPRESSIONS, GROUPS, {})
NAMES = [*EXPRESSIONS, "positive", "negative", SKIP]
TURNS = ("neutral", "happiness", "sadness")
COMMAND = "import sys; from moppet.commands import main as cli; sys.argv[0] = 'moppet'; cli.main()"


def write_clip(folder):
    rows = []
    for i in range(600):
        name = TURNS[i // 30 % 3]
        rows.append(make_row(i, i / 10, [0.94 if c == name else 0.01 for c in EXPRESSIONS]))
    metadata = {"source_name": "visit.mp4", "duration_s": 60.0}
    timeline = make_timeline(rows, settings=TimelineSettings(smooth_s=0), metadata=metadata)
    return timeline.write(folder / "timeline.parquet")


def write_codes(folder, words, name="c"):
    codes = [Code(i * 3, i * 3 + 3, words[i % len(words)]) for i in range(20)]
    coding = Coding((Lane("code", tuple(codes)),), "visit.mp4", 60.0, 10.0)
    return write_program(coding, folder, name, "elan")[0]


class Terminal:
    """A command that runs on a terminal of its own."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.seen, self.at = "", 0
        command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)

    def until(self, text, seconds=60):
        """Read until this text is shown after what was waited for before; return what came."""
        end = time.monotonic() + seconds
        while (found := self.seen.find(text, self.at)) < 0:
            assert time.monotonic() < end, f"{text!r} never came after {self.seen!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        start, self.at = self.at, found + len(text)
        return self.seen[start : self.at]

    def type(self, text):
        os.write(self.master, text.encode())

    def interrupt(self):
        """Press Ctrl-C until something is said.

        One that comes after the question is printed and before the answer is read is only noticed
        at the next key, which a person would press too.
        """
        for _ in range(10):
            # A terminal signals its foreground group; here there is no shell to set one.
            os.killpg(self.process.pid, signal.SIGINT)
            if select.select([self.master], [], [], 5)[0]:
                return

    def ends(self, seconds=60):
        """Read what is left; return the exit code."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    got = os.read(self.master, 65536)
                except OSError:  # Linux: the other end is closed
                    break
                if not got:
                    break
                self.seen += got.decode(errors="replace")
        return self.process.wait(timeout=seconds)


@pytest.fixture
def terminal():
    started = []

    def start(*arguments):
        started.append(Terminal(*arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.master)


def test_on_a_terminal_every_unknown_code_is_asked_for_once_and_the_option_repeats_it(
    terminal, tmp_path
):
    clip = write_clip(tmp_path)
    first = write_codes(tmp_path, ("calm", "Whoop, loud", "boo=hoo"))
    second = write_codes(tmp_path, ("calm", "whoop,  loud", "boo=hoo"), "d")
    options = ("compare", clip, first, second, "-o", tmp_path / "r")
    asked = terminal(*options)
    shown = asked.until("'Whoop, loud' (14 times): ")
    for name in (*EXPRESSIONS, "positive (group)", "negative (group)", "10 leave out"):
        assert name in shown
    asked.type("x\n")
    asked.until("none of them")
    asked.until("'Whoop, loud' (14 times): ")
    asked.type("s\n")
    asked.until("sadness or surprise or skip")
    asked.until("'Whoop, loud' (14 times): ")
    asked.type("HAP\n")
    asked.until("'boo=hoo' (12 times): ")
    asked.type("3\n")
    assert asked.ends() == 0
    assert asked.seen.count(" times): ") == 4 and "Cohen's kappa" in asked.seen
    option = shlex.split(re.search(r"add: (--map .*?)\r?\n", asked.seen)[1])
    made = json.loads((tmp_path / "r" / "agreement.json").read_text("utf-8"))
    assert made["about"]["code_map"] == {
        "calm": "neutral",
        "Whoop, loud": "happiness",
        "whoop,  loud": "happiness",
        "boo=hoo": "sadness",
    }
    assert made["pairs"][0]["units"]["kappa"]["value"] == 1.0
    again = terminal(*options, *option)
    assert again.ends() == 0 and "does not know" not in again.seen
    assert json.loads((tmp_path / "r" / "agreement.json").read_text("utf-8")) == made


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_stopping_ends_with_one_sentence_and_writes_nothing(terminal, tmp_path, key):
    options = ("compare", write_clip(tmp_path), write_codes(tmp_path, ("calm", "whoop", "boo")))
    asked = terminal(*options, "-o", tmp_path / "r")
    asked.until("'whoop' (7 times): ")
    asked.type("happiness\n")
    asked.until("'boo' (6 times): ")
    if key == "\x03":
        asked.interrupt()
    else:
        asked.type(key)
    assert asked.ends() == 1
    (line,) = [line for line in asked.seen.splitlines() if line.startswith("moppet: ")]
    assert "1 of 2 codes unanswered" in line and "--map" in line
    assert "Traceback" not in asked.seen and not (tmp_path / "r").exists()


def test_with_json_nobody_is_asked_even_on_a_terminal(terminal, tmp_path):
    options = ("compare", write_clip(tmp_path), write_codes(tmp_path, ("calm", "whoop")))
    asked = terminal(*options, "-o", tmp_path / "r", "--json")
    assert asked.ends() == 2
    assert '--map "whoop=NAME"' in asked.seen and "What does" not in asked.seen


@pytest.mark.parametrize("wrong", [("--face", "7"), ("--level", "mood"), ("--unit", "0")])
def test_what_is_wrong_anyway_is_said_before_any_question(terminal, tmp_path, wrong):
    options = ("compare", write_clip(tmp_path), write_codes(tmp_path, ("calm", "whoop")))
    asked = terminal(*options, "-o", tmp_path / "r", *wrong)
    assert asked.ends() == 2 and "What does" not in asked.seen


def test_when_piped_unknown_codes_are_refused_as_ever(tmp_path):
    options = ("compare", write_clip(tmp_path), write_codes(tmp_path, ("calm", "whoop")))
    command = [sys.executable, "-c", COMMAND, *map(str, options), "-o", str(tmp_path / "r")]
    done = subprocess.run(command, input="1\n", capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == "" and "whoop=NAME" in done.stderr


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("1", ["neutral"]),
        ("10", [SKIP]),
        ("0", []),
        ("11", []),
        ("", [SKIP]),
        ("  ", [SKIP]),
        ("leave", [SKIP]),
        ("skip", [SKIP]),
        ("NEGative", ["negative"]),
        ("neg", ["negative"]),
        ("ne", ["neutral", "negative"]),
        ("gust", ["disgust"]),
        ("ness", ["happiness", "sadness"]),
        ("?", []),
        ("²", []),
    ],
)
def test_an_answer_is_a_number_a_name_or_enough_of_it(answer, means):
    assert matching(answer, NAMES) == means


def test_a_whole_name_that_begins_another_is_that_name():
    assert matching("joy", ["joyful", "joy", SKIP]) == ["joy"]


def answered(unknown, *answers, level=None, vocabulary=WORDS):
    said = iter(answers)
    return ask_meanings(Counter(unknown), vocabulary, level, lambda _: next(said))


def test_spellings_that_differ_in_case_and_spaces_are_one_question():
    assert answered({"Big  cry": 2, "big cry": 3}, "fear") == {"big cry": "fear"}


def test_only_answers_that_fit_the_level_are_offered(capsys):
    some = Vocabulary(("calm", "cry", "odd"), {"calm": "fine", "cry": "bad"}, {})
    assert answered({"x": 1}, "odd", "bad", level="group", vocabulary=some) == {"x": "bad"}
    assert answered({"x": 1}, "bad", "odd", level="expression", vocabulary=some) == {"x": "odd"}
    assert capsys.readouterr().out.count("none of them") == 2


def test_the_answers_ending_says_how_many_are_missing():
    def ends(_):
        raise EOFError

    with pytest.raises(MoppetError, match=r"2 of 2 codes unanswered") as caught:
        ask_meanings(Counter({"a": 1, "b": 1}), WORDS, None, ends)
    assert caught.value.exit_code == 1


def test_a_byte_that_is_no_text_is_asked_again():
    answers = iter([UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "fear"])

    def read(_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ask_meanings(Counter({"a": 1}), WORDS, None, read) == {"a": "fear"}


def test_no_control_character_of_a_file_reaches_the_terminal(capsys):
    questions = []

    def read(question):
        questions.append(question)
        return "fear"

    ask_meanings(Counter({"a\x1b[2Jb": 1}), WORDS, None, read)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown + "".join(questions) and "a\\x1b[2jb" in shown


@pytest.mark.parametrize(
    "label", ["cry", "cry, loud", "a=b", 'say "no"', "it's $5 `x` 50 % !", "a\\b", "é ü", "x\x1by"]
)
def test_the_printed_option_means_the_same_to_a_shell(label):
    given = {label: "fear", "other": SKIP}
    line = f"{shlex.quote(sys.executable)} -c 'import sys; print(ascii(sys.argv[2]))' "
    done = subprocess.run(
        ["bash", "-c", line + map_option(given)], capture_output=True, text=True, check=True
    )
    text = ast.literal_eval(done.stdout)
    assert read_map([text], WORDS) == given
