"""Commands whose options are the fields of a dataclass, and the options that they share."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, get_type_hints

import typer
from rich.table import Table
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

from moppet.commands.console import watched
from moppet.files import parse_json
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.guard.notifications import Channels

VERBS: Final = {"analyse": "analyze", "synthesise": "synthesize", "ablate": "study"}
"""Other names of commands; both spellings of a word may stay, "ablate" goes with release 0.3."""


def renamed(options: Mapping[str, str]) -> type[TyperCommand]:
    """Return a command class that still reads options by their old names.

    options: old name → new name, such as "--from" → "--start". Old names are not listed by --help
        or the shell; whoever uses one is told the new name on stderr.
    """

    class Renamed(Command):
        old_options = options

    return Renamed


class Command(TyperCommand):
    """A command that knows its options' old names, and suggests one option for a mistyped one."""

    old_options: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._current(ctx, args))
        except Exception as error:  # click keeps its NoSuchOption to itself
            if near := getattr(error, "possibilities", None):
                vars(error)["possibilities"] = None
                vars(error)["message"] = f"{vars(error)['message']}. Did you mean {near[0]}?"
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for kind in ("argument", "option"):
            parameters = [p for p in self.get_params(ctx) if p.param_type_name == kind]
            records = [record for p in parameters if (record := help_record(p, ctx)) is not None]
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)

    def _current(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """Return the arguments with the present names of options."""
        current: list[str] = []
        for place, argument in enumerate(args):
            if argument == "--":
                return [*current, *args[place:]]
            old, equals, value = argument.partition("=")
            new = self.old_options.get(old)
            current.append(argument if new is None else f"{new}{equals}{value}")
            if new is not None and not ctx.resilient_parsing:
                typer.echo(f"moppet: {old} is now {new}.", err=True)
        return current


def help_record(parameter: Any, ctx: Any) -> tuple[str, str] | None:
    """Return a parameter's names and help text, None if it is hidden. Typer's own says
    "<list[str]>" for what may be repeated, and "<int range>" and "x>=0" for limits.
    """
    record = parameter.get_help_record(ctx)
    if record is None:
        return None
    names = re.sub(
        r"<(list\[)?(\w+)\]?( range)?>", lambda found: f"<{found[2].lower()}>", record[0]
    )
    text = record[1]
    for pattern, words in _LIMITS.items():
        text = re.sub(pattern, words, text)
    return names, text


_LIMITS: Final = {
    r"(\S+)<=x<=([^\s\]]+)\]$": r"\1 to \2]",
    r"x>=([^\s\]]+)\]$": r"at least \1]",
    r"x<=([^\s\]]+)\]$": r"at most \1]",
}


class Verbs(TyperGroup):
    """The commands, listed under the headings of their `rich_help_panel`; VERBS are read, too."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = VERBS.get(args[0], args[0]) if args else ""
        if args and name == "study" != args[0] and not ctx.resilient_parsing:
            typer.echo(f"moppet: {args[0]} is now {name}.", err=True)
        return super().resolve_command(ctx, [name, *args[1:]] if args else args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                panel = getattr(command, "rich_help_panel", None) or "Commands"
                text = command.get_short_help_str(formatter.width)
                panels.setdefault(str(panel), []).append((name, text))
        width = max(len(name) for rows in panels.values() for name, _ in rows)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])


class DefaultVerb(Verbs):
    """Commands of which the first is meant where none of them is named.

    So `moppet synthesize DATA` stays what it was before it had other commands.
    """

    @property
    def default(self) -> str:
        """Name of the command that is meant where none is named."""
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *self.get_help_option_names(ctx)}
        if not (args and args[0] in known) and not (ctx.resilient_parsing and not args):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            command = self.commands[self.default]
            inner = command.make_context(self.default, [], parent=ctx, resilient_parsing=True)
            found += command.shell_complete(inner, incomplete)
        return found


# ------------------------------------------------------------------------- settings of a command


def add_command(
    app: typer.Typer,
    run: Callable[..., Any],
    example: str,
    old: Mapping[str, str] | None = None,
    panel: str | None = None,
    name: str | None = None,
) -> None:
    """Add a command to a group: a function of options, or of one dataclass of them.

    example: what follows "moppet" at the end of --help. old: see `renamed`. panel: its heading.
    name: of the command; None takes the function's.
    """
    command = app.command(
        name, cls=renamed(old or {}), epilog=f"Example: moppet {example}", rich_help_panel=panel
    )
    command(command_of(run))


def command_of(run: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return what Typer needs of a function that takes one dataclass: its fields as parameters.

    Each field is annotated as an argument or an option; a field that is a dataclass itself stands
    for its own fields. A function that takes no dataclass is returned as it is.
    """
    hints = get_type_hints(run)
    kind = next(iter(hints.values()), None)
    if not is_dataclass(kind):
        return run

    def command(**given: Any) -> None:
        run(_settings(kind, given))

    made: Any = command
    parameters = list(_parameters(kind))
    made.__name__, made.__doc__ = run.__name__, run.__doc__
    made.__signature__ = inspect.Signature(parameters)
    made.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _parameters(kind: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from _parameters(hints[field.name])
        else:
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=hints[field.name],
            )


def _settings(kind: Any, given: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    values = {
        name: _settings(hint, given) if is_dataclass(hint) else given[name]
        for name, hint in hints.items()
    }
    return kind(**values)


def command_line(command: str, settings: Any) -> str:
    """Return the command line that asks for these settings; without --json, which only prints.

    command: its name. Arguments come first; options that are not set are left out.
    """
    arguments, options = [], []
    for name, annotation, value in _values(settings):
        (info,) = annotation.__metadata__
        if value is None or value is False or name == "as_json":
            continue
        texts = [str(one) for one in (value if isinstance(value, list) else [value])]
        if not isinstance(info, OptionInfo):
            arguments += texts
            continue
        option = info.default if isinstance(info.default, str) else f"--{name.replace('_', '-')}"
        options += [option] if value is True else [w for text in texts for w in (option, text)]
    return shlex.join(["moppet", command, *arguments, *options])


def run_facts(command: str, settings: Any) -> dict[str, str]:
    """Return what a result says of its run: the command line and the local time of day."""
    created_at = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"command": command_line(command, settings), "created_at": created_at}


def file_name(text: str) -> str:
    """Return a text in letters that every file system takes."""
    return re.sub(r"[^\w.-]+", "_", text)


def _values(settings: Any) -> Iterator[tuple[str, Any, Any]]:
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if is_dataclass(value):
            yield from _values(value)
        else:
            yield name, hint, value


# ---------------------------------------------------------------------------- values of options


def read_pairs(pairs: Iterable[str] | None, option: str) -> dict[str, Any]:
    """Return name → value from "name=value". Values are read as JSON where they are JSON.

    So numbers, true, false and ["lists"] are meant as such, and any other text is text.
    option: the one that they come from, for the error.
    Raises UsageError for a pair that lacks a name or the "=".
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not name or not equals:
            raise UsageError(f"{option} takes name=value, got {pair!r}.")
        try:
            found[name] = parse_json(value.encode("utf-8", "surrogateescape"), "it")
        except MoppetError:
            found[name] = value
    return found


def read_list(text: str | None, known: Sequence[str] = (), option: str = "") -> list[str]:
    """Return the parts of a text with commas, each once, in their order.

    known: what they may be, in lower case; anything goes if empty. option: where the text is from.
    Raises UsageError for a part that is not known, or if parts are needed and there is none.
    """
    parts = list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))
    if known:
        parts = list(dict.fromkeys(part.lower() for part in parts))
        if not parts or not set(parts) <= set(known):
            raise UsageError(f"{option} takes any of {', '.join(known)}, got {text!r}.")
    return parts


def read_reading(word: str) -> Any:
    """Return what `--reading` asks for; UsageError if it is no reading."""
    if word not in READINGS:
        raise UsageError(f"--reading takes any of {', '.join(READINGS)}, got {word!r}.")
    return word


# ------------------------------------------------------------------------------ shell completion


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Return what completes an option that takes one of these names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def any_of(*names: str) -> Callable[[str], list[str]]:
    """Return what completes an option that takes several of these names, with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        left = [name for name in names if name not in given and name.startswith(last)]
        return [f"{before}{comma}{name}" for name in left]

    return complete


def complete_model(incomplete: str) -> list[str]:
    """Return the bundled models whose names begin so."""
    from moppet.infer.expression_model import bundled_models

    return one_of(*bundled_models())(incomplete)


def complete_detector(incomplete: str) -> list[str]:
    """Return the face detectors whose names begin so."""
    from moppet.infer.detectors import DETECTORS

    return one_of(*DETECTORS)(incomplete)


# --------------------------------------------------------------------------------- shared options


def output_option(help_text: str) -> Any:
    """Return `-o/--output`, where results are written. Only the help text is the command's own."""
    return typer.Option("-o", "--output", help=help_text)


def flag(name: str, help_text: str) -> Any:
    """Return an option that is given or not: `name`, without the --no-name that Typer adds."""
    return typer.Option(name, help=help_text)


def choice(help_text: str, *names: str) -> Any:
    """Return an option that takes one of these names, which the shell completes."""
    return typer.Option(help=help_text, autocompletion=one_of(*names))


def model_option(help_text: str) -> Any:
    """Return an option that takes a model, whose name the shell completes."""
    return typer.Option(help=help_text, autocompletion=complete_model)


def format_option(names: Sequence[str]) -> Any:
    """Return `--format`, which takes several of these names."""
    text = f"Any of {', '.join(names)}, separated by commas."
    return typer.Option("--format", help=text, autocompletion=any_of(*names))


DataArgument = Annotated[
    Path, typer.Argument(help="Labeled images: a dataset, or a manifest (.parquet).")
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Rows to use: train, val, test or all; default: test if there is one, else all.",
        autocompletion=one_of("train", "val", "test", "all"),
    ),
]
MODEL_HELP: Final = "Name of a bundled model, or a model folder."
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP, autocompletion=complete_model)]
ModelOption = Annotated[
    str, typer.Option("--model", help=MODEL_HELP, autocompletion=complete_model)
]
StartOption = Annotated[
    float | None, typer.Option("--start", help="Start at this time, in seconds.", min=0)
]
EndOption = Annotated[
    float | None, typer.Option("--end", help="End at this time, in seconds.", min=0)
]
READINGS: Final = ("observers", "display", "both")
PriorOption = Annotated[
    str,
    typer.Option(
        "--prior",
        help="How frequent classes are: natural, uniform, estimate, FILE.toml.",
        autocompletion=one_of("natural", "uniform", "estimate"),
    ),
]
ReadingOption = Annotated[
    str,
    typer.Option(
        "--reading",
        help="Reading that decides: observers, display, or both.",
        autocompletion=one_of(*READINGS),
    ),
]
PeopleOption = Annotated[
    Path | None,
    typer.Option("--people", help="Names of the faces; default: the timeline's .people.json."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Any other setting, name=value; repeatable.")
]
SubjectOption = Annotated[
    str | None,
    typer.Option(
        "--subject", help="Regular expression whose (group) in a file's path is the person."
    ),
]
JobsOption = Annotated[int, typer.Option("-j", "--jobs", help="Parallel processes.", min=1)]
SeedOption = Annotated[
    int, typer.Option("--seed", help="Random seed; the same seed gives the same result.", min=0)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ShowFaces = Annotated[
    bool, typer.Option("--show-faces", help="Show images of faces in the result.")
]
ShowFacesFile = Annotated[
    Path | None,
    typer.Option("--show-faces", help="Also write example images to this file. It shows faces."),
]


@dataclass(frozen=True)
class AlertOptions:
    """Who is told of a guard's alerts and pauses."""

    on_alert: Annotated[str | None, typer.Option(help="Program to start on an alert.")] = None
    on_pause: Annotated[str | None, typer.Option(help="Program to start on a pause.")] = None
    on_resume: Annotated[
        str | None, typer.Option(help="Program to start when the child is calm after a pause.")
    ] = None
    webhook: Annotated[
        str | None, typer.Option(help="Send alerts to this address. They LEAVE this machine.")
    ] = None

    def channels(self, sound: str) -> Channels:
        """Return where alerts go. sound: as in `moppet watch --sound`."""
        from moppet.guard.notifications import Channels

        return Channels(self.on_alert, self.on_pause, self.on_resume, sound, self.webhook)


if TYPE_CHECKING:
    from moppet.datasets.faces import Faces
    from moppet.datasets.manifest import Manifest


# --------------------------------------------------------------------- labeled images of a command


@dataclass(frozen=True)
class DatasetOptions:
    """How a command reads its images."""

    kind: Annotated[
        str | None, typer.Option(help="Kind of dataset; default: detected from its layout.")
    ] = None
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the dataset's reader, name=value; repeatable."),
    ] = None
    subject: SubjectOption = None

    def __post_init__(self) -> None:
        read_pairs(self.option, "--option")

    def read(self, path: Path, *, as_given: bool = False) -> Manifest:
        """Return the manifest; the first use of a dataset prints its conditions on stderr.

        as_given: keep the user's own class names where the dataset has no names of its own.
        Raises UsageError for --subject beside a manifest, and what `read_dataset` raises.
        """
        from moppet.datasets.readers import announce_license, find_dataset, read_dataset

        options = read_pairs(self.option, "--option")
        is_manifest = self.kind is None and path.suffix.lower() == ".parquet"
        if is_manifest and self.subject:
            raise UsageError("--subject reads file names; a manifest has its own column for it.")
        if self.subject:
            options["subject_pattern"] = self.subject
        if as_given and not is_manifest and "as_given" in find_dataset(path, self.kind).options:
            options["as_given"] = True
        manifest = read_dataset(path, self.kind, **options)
        announce_license(manifest)
        if pattern := options.get("subject_pattern"):
            _report_subjects(manifest, str(pattern))
        return manifest


def _report_subjects(manifest: Manifest, pattern: str) -> None:
    """Print how many people a pattern found; raise UsageError if it matched no file."""
    subjects = [one for one in manifest.column("subject").tolist() if one is not None]
    paths = manifest.column("path")
    if len(manifest) and not subjects:
        raise UsageError(
            f"subject_pattern {pattern!r} matches no file (the first is {str(paths[0])!r}): it is "
            "a regular expression with the person in its first group, such as '(child\\d+)_'."
        )
    lost = len(manifest) - len(subjects)
    people = len(set(subjects))
    text = f"{people:,} {'person' if people == 1 else 'people'} found by subject_pattern"
    if lost:
        missed = str(paths[manifest.column("subject").tolist().index(None)])
        text += (
            f"; {lost:,} of {len(manifest):,} rows match it nowhere (first: {missed}), so images "
            "of one person may stand in two parts"
        )
    print(f"{text}.", file=sys.stderr)


def find_faces(manifest: Manifest, folder: Path) -> Faces:
    """Return the images' faces, which the folder keeps for the next run; show the progress."""
    from moppet.datasets.faces import find_manifest_faces

    folder.mkdir(parents=True, exist_ok=True)
    with watched() as show:
        return find_manifest_faces(
            manifest, cache=folder / "faces.npz", progress=partial(show, "faces")
        )


def count_table(what: str, counts: Mapping[str, Mapping[str, int]], column: str = "split") -> Table:
    """Return counts by value and by part of a split as a table."""
    title = f"images by {what} and {column}"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column(what)
    sides = list(next(iter(counts.values()), {}))
    for side in sides:
        named = f"{column} {side}" if column != "split" else side
        table.add_column(f"no {column}" if side == "–" else named, justify="right")
    if len(sides) > 1:
        table.add_column("all", justify="right")
    for name, row in counts.items():
        cells = [str(row[side]) for side in sides] + [str(sum(row.values()))] * (len(sides) > 1)
        table.add_row("unknown" if name == "–" else name, *cells)
    return table
