"""Timelines: smoothing, episodes, summaries, file formats, and the journal of an analysis."""

from moppet.timeline.episodes import Episode
from moppet.timeline.journal import (
    Journal,
    read_journal,
    read_journal_header,
    read_state,
    read_unfinished,
)
from moppet.timeline.labels import live_rows
from moppet.timeline.schema import OptionalColumns, RawRow
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import CausalSmoother
from moppet.timeline.summary import summary_lines
from moppet.timeline.table import Timeline, build_timeline, read_timeline

__all__ = [
    "CausalSmoother",
    "Episode",
    "Journal",
    "OptionalColumns",
    "RawRow",
    "Timeline",
    "TimelineSettings",
    "build_timeline",
    "live_rows",
    "read_journal",
    "read_journal_header",
    "read_state",
    "read_timeline",
    "read_unfinished",
    "summary_lines",
]
