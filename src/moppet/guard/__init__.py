"""The watch guard: rules in plain words, the state machine that follows them, and its log."""

from moppet.guard.detection import Distress, Found, find_events
from moppet.guard.event_log import EventLog, event_record, read_log, write_csv
from moppet.guard.rules import CHILD, DEFAULT_RULES, GuardSettings, Rule, parse_rules, read_guard
from moppet.guard.state_machine import Event, Guard, GuardSummary

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
    "read_guard",
    "read_log",
    "write_csv",
]
