"""`moppet compare`: a timeline against the codes of one or two people."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from moppet.commands.options import (
    EndOption,
    JsonOption,
    SeedOption,
    StartOption,
    any_of,
    choice,
    output_option,
    read_list,
)
from moppet.files import one_line, result_folder, write_text
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from moppet.coders.agreement import Pair
    from moppet.coders.code_map import Level, Vocabulary
    from moppet.coders.comparison import Coder, Job, Result
    from moppet.coders.pooled import Pooled
    from moppet.metrics import Estimate

COUNTABLE: Final = ("unsure", "no face")
LEVELS: Final = ("expression", "group")
SKIP: Final = "skip"
LEAVE_OUT: Final = "leave out"
NO_VALUE: Final = "\N{EN DASH}"
WIDTH: Final = 78


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `moppet compare` is asked for."""

    timeline: Annotated[
        Path | None, typer.Argument(help="A timeline (.parquet, .csv or .json).")
    ] = None
    codes: Annotated[
        Path | None,
        typer.Argument(
            help="A coder's file: .eaf, .boris, .tsv, .csv, .opf, .TextGrid; or a timeline."
        ),
    ] = None
    codes2: Annotated[
        Path | None, typer.Argument(help="A second coder's file; may be the same file.")
    ] = None
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="Many recordings (.csv): timeline, codes, codes2, face, tier."),
    ] = None
    output: Annotated[Path, output_option("Folder for the results.")] = Path("moppet_comparison")
    face: Annotated[
        str | None,
        typer.Option(help="Faces of the coded person: a number, name or role, or several: 0,2."),
    ] = None
    tier: Annotated[
        list[str] | None,
        typer.Option(help="Tier, column or BORIS subject to compare; repeatable."),
    ] = None
    tier2: Annotated[
        list[str] | None,
        typer.Option(help="The same for the second coder; default: like --tier."),
    ] = None
    observation: Annotated[
        str | None, typer.Option(help="Observation to use, if a BORIS file has several.")
    ] = None
    media: Annotated[
        str | None, typer.Option(help="Which media file of the codes the recording is.")
    ] = None
    media2: Annotated[
        str | None, typer.Option(help="The same for the second coder; default: like --media.")
    ] = None
    code_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="CODE=NAME,...",
            help="Meaning of codes: an expression, a group, or skip; repeatable.",
        ),
    ] = None
    level: Annotated[
        str | None,
        choice("What to compare: expression or group; default: as the codes require.", *LEVELS),
    ] = None
    offset: Annotated[float, typer.Option(help="Seconds to add to the times of the codes.")] = 0.0
    offset2: Annotated[
        float | None, typer.Option(help="The same for the second coder; default: like --offset.")
    ] = None
    unit: Annotated[float, typer.Option(help="Length of a time unit, in seconds.")] = 0.1
    tolerance: Annotated[float, typer.Option(help="Seconds by which two raters may differ.")] = 0.5
    uncoded: Annotated[
        str, typer.Option(help="Value of time without a code: skip, rest, or an expression.")
    ] = SKIP
    count: Annotated[
        str | None,
        typer.Option(
            help=f"Time to count instead of leaving it out: {', '.join(COUNTABLE)}.",
            autocompletion=any_of(*COUNTABLE),
        ),
    ] = None
    start: StartOption = None
    end: EndOption = None
    seed: SeedOption = 0
    as_json: JsonOption = False


def compare(options: CompareOptions) -> None:
    """Measure how well a timeline agrees with human coders.

    Reads the files of ELAN, BORIS, Datavyu and Praat. Prints the agreement and writes
    agreement.json, disagreements.csv and lanes.svg. In a terminal, you are asked for the meaning
    of codes that moppet does not know. --list compares many recordings: pooled kappa,
    Krippendorff's alpha and intraclass correlations.
    """
    if options.listed is not None:
        _compare_list(options, options.listed)
        return
    job = _job(options)
    from moppet.coders.comparison import compare_files

    result = compare_files(job, ask_meanings if can_ask() and not options.as_json else None)
    written = _write(result, options.output)
    if options.as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    print_result(result, written, Console(soft_wrap=True, highlight=False, markup=False))


def _job(options: CompareOptions) -> Job:
    if options.timeline is None or options.codes is None:
        raise UsageError("compare needs a timeline and a coder's file, or --list with a CSV file.")
    tiers, offset, media = options.tier or [], options.offset, options.media
    if options.codes2 == options.codes and (options.tier2 or tiers) == tiers:
        raise UsageError("Both coders are in one file. Give a --tier and a different --tier2.")
    from moppet.coders.comparison import Coder

    coders = [Coder(options.codes, tuple(tiers), options.observation, offset, media)]
    if options.codes2 is not None:
        tiers = options.tier2 or tiers
        offset = offset if options.offset2 is None else options.offset2
        media = media if options.media2 is None else options.media2
        coders.append(Coder(options.codes2, tuple(tiers), options.observation, offset, media))
    return _job_of(options, options.timeline, coders)


def _job_of(options: CompareOptions, timeline: Path, coders: Sequence[Coder]) -> Job:
    from moppet.coders.comparison import Job

    return Job(
        timeline=timeline,
        coders=coders,
        face=options.face,
        code_map=options.code_map or (),
        level=options.level,
        unit_s=options.unit,
        tolerance_s=options.tolerance,
        uncoded=options.uncoded,
        count=tuple(read_list(options.count)),
        start_s=options.start,
        end_s=options.end,
        seed=options.seed,
    )


def _compare_list(options: CompareOptions, listed: Path) -> None:
    """Compare many recordings, and write reliability.json and reliability.csv."""
    given = (options.timeline, options.codes, options.codes2, options.tier2)
    if any(given) or options.offset2 is not None or options.media2 is not None:
        raise UsageError("--list names all files: leave out the timeline, the codes and --tier2.")
    from moppet.coders.comparison import Coder
    from moppet.coders.pooled import compare_list, pooled_rows, read_jobs
    from moppet.commands.console import say, watched, wide_console
    from moppet.files import write_csv

    coder = Coder(
        *(Path(), tuple(options.tier or ()), options.observation, options.offset, options.media)
    )
    jobs = read_jobs(listed, _job_of(options, Path(), [coder]))
    ask = ask_meanings if can_ask() and not options.as_json else None
    with watched("recordings") as show:
        found = compare_list(jobs, options.seed, ask, lambda n, of: show("compare", n, of))
    text = json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    rows = list(pooled_rows(found))
    cells = ([None if x != x else x for x in row.values()] for row in rows)
    with result_folder(options.output):
        written = [
            write_text(options.output / "reliability.json", text),
            write_csv(options.output / "reliability.csv", list(rows[0]), cells),
        ]
    if options.as_json:
        typer.echo(text, nl=False)
        return
    console = wide_console(100)
    console.print(_pooled_table(rows))
    for pair in found.pairs:
        say(
            console,
            f"{pair.second} and {pair.first}: {pair.seconds:.1f} s compared, "
            f"{pair.recordings} recordings, {pair.participants} participants",
        )
    for note in (*found.notes, *_all_notes(found)):
        say(console, f"Note: {note}")
    for path in written:
        say(console, f"  {path}")


def _pooled_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table

    title = "All recordings; intervals draw participants"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for head in ("", "", "", "value", "95 % interval"):
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        low, high = row["low"], row["high"]
        limits = NO_VALUE if isnan(low) else f"{low:.3f} to {high:.3f}"
        words = (row["pair"], row["figure"], row["label"])
        table.add_row(*words, _number(row["value"]), limits)
    return table


def _all_notes(found: Pooled) -> Iterator[str]:
    for result in found.results:
        for note in result.notes:
            yield f"{result.about['timeline']} of {result.about['recording']}: {note}"


# --------------------------------------------------------------------------------- the results


def _write(result: Result, folder: Path) -> list[Path]:
    from moppet.pages.agreement_lanes import draw_lanes

    content = json.dumps(result.as_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    with result_folder(folder):
        return [
            write_text(folder / "agreement.json", content),
            write_text(folder / "disagreements.csv", result.comparison.disagreements_csv()),
            write_text(folder / "lanes.svg", draw_lanes(result.comparison)),
        ]


def print_result(result: Result, written: Sequence[Path], console: Console) -> None:
    """Print what was compared, what was left out, the figures of every pair, and the files."""
    about = result.about
    codes = ", ".join(
        f"{one_line(label, 80)} = {name}" for label, name in about["code_map"].items()
    )
    console.print(
        f"{about['recording'] or about['timeline']}: {about['level']}s of "
        f"{', '.join(about['people'])}, in units of {about['unit_s']} s"
    )
    console.print(f"Codes: {codes}")
    for note in result.notes:
        console.print(f"Note: {note}")
    for name, reasons in result.comparison.left_out_s().items():
        if reasons:
            parts = ", ".join(f"{seconds:.1f} s {reason}" for reason, seconds in reasons.items())
            console.print(f"Not compared, {name}: {parts}")
    for pair in result.comparison.pairs:
        console.print()
        console.print(_table(pair, about))
    count = len(result.comparison.disagreements())
    console.print(f"\n{count} disagreement{'' if count == 1 else 's'}")
    for path in written:
        console.print(f"  {path}")


def _table(pair: Pair, about: Mapping[str, Any]) -> Table:
    from rich.table import Table

    where = ", wherever both coded" if pair.where == "both coded" else ""
    table = Table(
        title=f"{pair.second} and {pair.first}{where}: {pair.seconds:.1f} s compared",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("")
    for column in ("value", "95 % interval", "n"):
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
    blocks = f"{pair.blocks} segments"
    yield "Cohen's kappa", units.overall["kappa"], blocks
    yield "agreement", units.overall["agreement"], blocks
    tolerance = f"{about['tolerance_s']} s"
    yield f"agreement within {tolerance}", units.overall["agreement_within_tolerance"], blocks
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


# ---------------------------------------------------------------------- questions about codes


def can_ask() -> bool:
    """Return whether input and output are a terminal, so that somebody can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask_meanings(
    unknown: Counter[str],
    vocabulary: Vocabulary,
    level: Level | None,
    read: Callable[[str], str] = input,
) -> dict[str, str]:
    """Return what each unknown code means (code → class, group or SKIP), as answered.

    unknown: code → how often it occurs. level: what is compared, if that is known; only answers
        that fit it are offered.
    Raises MoppetError if the input ends (Ctrl-C, Ctrl-D) before the questions do.
    """
    from moppet.coders.code_map import normalize_label

    names = _answers(vocabulary, level)
    spelled: dict[str, str] = {}
    times: Counter[str] = Counter()
    for label, count in unknown.items():
        times[normalize_label(label)] += count
        spelled.setdefault(normalize_label(label), label)
    several = len(times) > 1
    typer.echo(
        f"moppet does not know {'these codes' if several else 'this code'}. "
        f"What does {'each of them' if several else 'it'} mean?"
    )
    typer.echo(_listed(names, vocabulary))
    typer.echo(
        "Enter a name, its first letters or its number. Enter nothing to leave out the code."
    )
    given: dict[str, str] = {}
    try:
        for word, count in times.most_common():
            often = "once" if count == 1 else f"{count} times"
            given[word] = _ask(f"{spelled[word]!r} ({often})", names, read)
    except (EOFError, KeyboardInterrupt):
        typer.echo()
        raise MoppetError(
            f"Stopped with {len(times) - len(given)} of {len(times)} codes unanswered; nothing was "
            "written. Run the command again, or give the meaning of the codes with --map."
        ) from None
    typer.echo(f"To skip these questions next time, add: {map_option(given)}\n")
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
            typer.echo(f"  That could be {' or '.join(found)}. Enter more letters.")
        else:
            typer.echo(f"  That is none of them. Enter a name or a number from 1 to {len(names)}.")


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
        found = list(dict.fromkeys(name for spelling, name in spoken if test(spelling)))
        if found:
            return found
    return []


def map_option(given: Mapping[str, str]) -> str:
    """Return the option --map that gives codes these meanings, to be pasted into a shell."""
    from moppet.coders.code_map import map_text

    text = map_text(given)
    if not text.isprintable():  # a file's control characters must not reach the terminal
        return f"--map $'{''.join(map(_escaped, text))}'"
    # Most shells read double quotes alike; characters that they would change need single quotes.
    quoted = shlex.quote(text) if re.search(r'["$`\\!%]', text) else f'"{text}"'
    return f"--map {quoted}"


def _escaped(character: str) -> str:
    """Return a character as bash and zsh write it between $' and '."""
    if character.isprintable() and character not in "'\\":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 128 else f"\\U{code:08x}"
