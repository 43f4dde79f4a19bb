"""The watch guard: its rules, the state machine that applies them, and its event log."""

from moppet.guard.detection import DetectionResult, Distress, match_events
from moppet.guard.event_log import EventLog, event_record, read_log, write_csv
from moppet.guard.rules import CHILD, DEFAULT_RULES, GuardSettings, Rule, parse_rules, read_guard
from moppet.guard.state_machine import Event, Guard, GuardSummary

__all__ = [
    "CHILD",
    "DEFAULT_RULES",
    "DetectionResult",
    "Distress",
    "Event",
    "EventLog",
    "Guard",
    "GuardSettings",
    "GuardSummary",
    "Rule",
    "event_record",
    "match_events",
    "parse_rules",
    "read_guard",
    "read_log",
    "write_csv",
]
