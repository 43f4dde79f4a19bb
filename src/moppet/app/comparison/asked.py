"""What codes mean that moppet does not know: asked on a terminal, each once."""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import typer

from moppet.timeline.agreement import SKIP, Level, Vocabulary, map_text, one_word
from moppet.values import MoppetError

LEAVE_OUT: Final = "leave out"
WIDTH: Final = 78


def can_ask() -> bool:
    """Return whether somebody sits at the terminal: it reads the keys and shows what is written."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask_meanings(
    unknown: Counter[str],
    vocabulary: Vocabulary,
    level: Level | None,
    read: Callable[[str], str] = input,
) -> dict[str, str]:
    """Return what each unknown label stands for (word → class, group or SKIP), as answered.

    unknown: label → how often it was coded. level: the one that is compared, if that is settled;
        only answers that fit it are offered.
    Raises MoppetError if the answers end (Ctrl-C, Ctrl-D) before the questions.
    """
    names = _answers(vocabulary, level)
    spelled: dict[str, str] = {}
    times: Counter[str] = Counter()
    for label, count in unknown.items():
        times[one_word(label)] += count
        spelled.setdefault(one_word(label), label)
    several = len(times) > 1
    typer.echo(
        f"moppet cannot place {'these codes' if several else 'this code'}. "
        f"What does {'each' if several else 'it'} stand for?"
    )
    typer.echo(_listed(names, vocabulary))
    typer.echo("A name, enough of it, or its number; an empty answer leaves the time out.")
    given: dict[str, str] = {}
    try:
        for word, count in times.most_common():
            often = "once" if count == 1 else f"{count} times"
            given[word] = _ask(f"{spelled[word]!r} ({often})", names, read)
    except (EOFError, KeyboardInterrupt):
        typer.echo()
        raise MoppetError(
            f"Stopped with {len(times) - len(given)} of {len(times)} codes not placed; nothing is "
            "written. Run it again, or say what they mean with --map."
        ) from None
    typer.echo(f"For the same without questions, add: {map_option(given)}\n")
    return given


def _answers(vocabulary: Vocabulary, level: Level | None) -> list[str]:
    classes, groups = list(vocabulary.classes), vocabulary.groups
    if level == "expression":
        groups = []
    elif level == "group":
        classes = [name for name in classes if name in vocabulary.group_of]
    return [*dict.fromkeys((*classes, *groups)), SKIP]


def _listed(names: Sequence[str], vocabulary: Vocabulary) -> str:
    """Return the answers with their numbers, in lines that fit a terminal."""
    lines: list[str] = []
    line = ""
    for number, name in enumerate(names, 1):
        kind = " (group)" if name != SKIP and name not in vocabulary.classes else ""
        part = f"  {number} {LEAVE_OUT if name == SKIP else name}{kind}"
        if line and len(line) + len(part) > WIDTH:
            lines, line = [*lines, line], ""
        line += part
    return "\n".join([*lines, line])


def _ask(question: str, names: Sequence[str], read: Callable[[str], str]) -> str:
    while True:
        try:
            answer = read(f"{question}: ")
        except UnicodeDecodeError:
            answer = "?"
        found = matching(answer, names)
        if len(found) == 1:
            typer.echo(f"  = {LEAVE_OUT if found[0] == SKIP else found[0]}")
            return found[0]
        if found:
            typer.echo(f"  That may be {' or '.join(found)}; type more of it.")
        else:
            typer.echo(f"  That is none of them; type a name or a number from 1 to {len(names)}.")


def matching(answer: str, names: Sequence[str]) -> list[str]:
    """Return the names that an answer may mean: its number, itself, its beginning, a part of it."""
    word = " ".join(answer.casefold().split())
    if not word:
        return [SKIP]
    if word.isdecimal():
        number = int(word)
        return [names[number - 1]] if 1 <= number <= len(names) else []
    spoken = [(name.casefold(), name) for name in names] + [(LEAVE_OUT, SKIP)]
    tests: tuple[Callable[[str], bool], ...] = (
        lambda name: name == word,
        lambda name: name.startswith(word),
        lambda name: word in name,
    )
    for test in tests:
        found = list(dict.fromkeys(name for said, name in spoken if test(said)))
        if found:
            return found
    return []


def map_option(given: Mapping[str, str]) -> str:
    """Return the option --map that gives labels these meanings, to be pasted into a shell."""
    text = map_text(given)
    if not text.isprintable():  # a file's control characters must not reach the terminal
        return f"--map $'{''.join(map(_escaped, text))}'"
    # Double quotes are read alike by most shells; what they would change needs single ones.
    quoted = shlex.quote(text) if re.search(r'["$`\\!%]', text) else f'"{text}"'
    return f"--map {quoted}"


def _escaped(character: str) -> str:
    """Return a character as bash and zsh write it between $' and '."""
    if character.isprintable() and character not in "'\\":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 128 else f"\\U{code:08x}"
