"""The watch guard: its rules, the state machine that applies them, and its event log."""

from moppet.guard.distress import DistressMeter, DistressScore, read_score
from moppet.guard.event_log import (
    DetectionResult,
    EventLog,
    event_record,
    match_events,
    read_log,
    write_csv,
)
from moppet.guard.rules import (
    CHILD,
    DEFAULT_RULES,
    DISTRESS_RULES,
    GuardSettings,
    default_rules,
    parse_rules,
    read_guard,
)
from moppet.guard.state_machine import Event, Guard

__all__ = [
    "CHILD",
    "DEFAULT_RULES",
    "DISTRESS_RULES",
    "DetectionResult",
    "DistressMeter",
    "DistressScore",
    "Event",
    "EventLog",
    "Guard",
    "GuardSettings",
    "default_rules",
    "event_record",
    "match_events",
    "parse_rules",
    "read_guard",
    "read_log",
    "read_score",
    "write_csv",
]
