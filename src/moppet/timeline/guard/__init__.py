"""The watch guard: rules in plain words, the state machine that follows them, and its log."""

from moppet.timeline.guard.log import EventLog, event_record, read_log, write_csv
from moppet.timeline.guard.machine import Event, Guard, GuardSummary
from moppet.timeline.guard.measure import Distress, Found, find_events
from moppet.timeline.guard.rules import DEFAULT_RULES, Rule, parse_rules
from moppet.timeline.guard.settings import CHILD, GuardSettings, read_settings

__all__ = [
    "CHILD",
    "DEFAULT_RULES",
    "Distress",
    "Event",
    "EventLog",
    "Found",
    "Guard",
    "GuardSettings",
    "GuardSummary",
    "Rule",
    "event_record",
    "find_events",
    "parse_rules",
    "read_log",
    "read_settings",
    "write_csv",
]
