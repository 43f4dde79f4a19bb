"""`moppet compare`: a timeline against the codes of one or two people."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from moppet.coders import SKIP, Level, Pair, Vocabulary, map_text, one_word
from moppet.commands.compare_run import COUNTABLE, Coder, Job, Result
from moppet.commands.compare_run import compare as compare_files
from moppet.commands.options import EndOption, StartOption
from moppet.metrics import Estimate
from moppet.values import MoppetError, UsageError

NO_VALUE = "\N{EN DASH}"


def print_result(result: Result, console: Console) -> None:
    """Print what was compared, what was left out, the figures of every pair, and the files."""
    about = result.about
    unit_s = about["unit_s"]
    words = ", ".join(f"{label} = {name}" for label, name in about["words"].items())
    console.print(
        f"{about['recording'] or about['timeline']}: {about['level']}s of "
        f"{', '.join(about['people'])} in units of {unit_s} s; codes: {words}"
    )
    for note in result.notes:
        console.print(f"Note: {note}")
    for name, reasons in result.comparison.left_out_s().items():
        if reasons:
            parts = ", ".join(f"{seconds:.1f} s {reason}" for reason, seconds in reasons.items())
            console.print(f"without a value, {name}: {parts}")
    for pair in result.comparison.pairs:
        console.print()
        console.print(_table(pair, about))
    count = len(result.comparison.disagreements())
    console.print(f"\n{count} stretches of disagreement")
    for path in result.written:
        console.print(f"  {path}")


def _table(pair: Pair, about: Mapping[str, Any]) -> Table:
    where = " wherever both coded" if pair.where == "both coded" else ""
    table = Table(
        title=f"{pair.second} against {pair.first}{where}: {pair.seconds:.1f} s compared",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("")
    for column in ("value", "95 % interval", "rests on"):
        table.add_column(column, justify="right")
    for name, estimate, basis in _rows(pair, about):
        table.add_row(name, _number(estimate.value), _interval(estimate), basis)
    low, high = pair.events.quartiles_s
    if not isnan(low):
        table.add_row(
            "onset error, quartiles (s)",
            f"{round(low, 2) + 0.0:+.2f}",
            f"to {round(high, 2) + 0.0:+.2f}",
            "",
        )
    return table


def _rows(pair: Pair, about: Mapping[str, Any]) -> Iterator[tuple[str, Estimate, str]]:
    units, events = pair.units, pair.events
    blocks = f"{pair.blocks} stretches"
    yield "Cohen's kappa", units.overall["kappa"], blocks
    yield "agreement by unit", units.overall["agreement"], blocks
    tolerance = f"{about['tolerance_s']} s"
    yield f"… within {tolerance}", units.overall["agreement_within_tolerance"], blocks
    for name, estimate in units.recall.items():
        yield f"recall {name}", estimate, f"{estimate.n * about['unit_s']:.1f} s"
    yield f"events of {pair.first} found", events.found, f"{events.found.n} events"
    yield f"events of {pair.second} confirmed", events.confirmed, f"{events.confirmed.n} events"
    yield f"onsets within {tolerance}", events.within, f"{events.within.n} pairs"
    yield "onset error, median (s)", events.onset_s, f"{events.onset_s.n} pairs"


def _number(value: float) -> str:
    return NO_VALUE if isnan(value) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def _interval(estimate: Estimate) -> str:
    if isnan(estimate.low):
        return NO_VALUE
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


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


_FILES = "ELAN .eaf, BORIS .boris/.tsv/.csv, Datavyu .opf, Praat .TextGrid"


def compare(
    machine: Annotated[Path, typer.Argument(help="A timeline (.parquet, .csv or .json).")],
    human: Annotated[Path, typer.Argument(help=f"A person's codes: {_FILES}.")],
    human2: Annotated[
        Path | None, typer.Argument(help="A second person's codes; may be the same file.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "moppet_comparison"
    ),
    face: Annotated[
        str | None, typer.Option(help="The coded person's faces in the timeline, e.g. 0 or 0,2.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="The tier, column or subject of the codes, by its name.")
    ] = None,
    tier2: Annotated[
        str | None, typer.Option(help="That of the second person; default: as the first.")
    ] = None,
    observation: Annotated[
        str | None, typer.Option(help="The observation in BORIS files that hold several.")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help='What codes mean: "cry=negative,smile=happiness,away=skip"; repeatable.'
        ),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="expression or group; default: by what the codes mean.")
    ] = None,
    offset: Annotated[
        float, typer.Option(help="Seconds to add to the codes' times to get the recording's.")
    ] = 0.0,
    offset2: Annotated[
        float | None, typer.Option(help="That of the second person; default: as the first.")
    ] = None,
    unit: Annotated[float, typer.Option(help="Length of a time unit in seconds.")] = 0.1,
    tolerance: Annotated[
        float, typer.Option(help="Seconds by which two may differ and yet agree.")
    ] = 0.5,
    uncoded: Annotated[
        str,
        typer.Option(help="Time without a code: skip, rest (anything not coded), or a name."),
    ] = "skip",
    count: Annotated[
        str | None,
        typer.Option(help=f"Count, not leave out, with commas: {', '.join(COUNTABLE)}."),
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.", min=0)] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print agreement.json, not tables.")
    ] = False,
) -> None:
    """Say how far a timeline agrees with people's codes, and where it does not."""
    coders = [Coder(human, tier, observation, offset)]
    if human2 is not None:
        if human2 == human and tier2 in (None, tier):
            raise UsageError("Both people's codes are in one file; name their --tier and --tier2.")
        shift = offset if offset2 is None else offset2
        coders.append(Coder(human2, tier if tier2 is None else tier2, observation, shift))
    job = Job(
        timeline=machine,
        coders=coders,
        output=output,
        face=face,
        words=words or (),
        level=level,
        unit_s=unit,
        tolerance_s=tolerance,
        uncoded=uncoded,
        count=tuple(part.strip() for part in (count or "").split(",") if part.strip()),
        from_s=start,
        to_s=end,
        seed=seed,
    )
    asking = ask_meanings if can_ask() and not as_json else None
    result = compare_files(job, asking)
    if as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False, allow_nan=False))
    else:
        print_result(result, Console(soft_wrap=True, highlight=False, markup=False))
