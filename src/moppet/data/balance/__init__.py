"""Balancing: more of the rare classes, less of the common or doubtful, of training rows only.

`balance` works on features and labels, `balance_manifest` on a manifest's training rows in a
space of `make_space`. Whoever gives `balance` other rows than those of the training fold leaks.
"""

from __future__ import annotations

from moppet.data.balance.methods import BALANCERS, Balancer
from moppet.data.balance.resample import Balanced, balance
from moppet.data.balance.rows import BalancedRows, balance_manifest
from moppet.data.balance.samplers import Neighbours
from moppet.data.balance.spaces import SPACES, Space, make_space
from moppet.data.balance.table import ClassCount, class_table
from moppet.data.balance.targets import Targets, read_targets

__all__ = [
    "BALANCERS",
    "SPACES",
    "Balanced",
    "BalancedRows",
    "Balancer",
    "ClassCount",
    "Neighbours",
    "Space",
    "Targets",
    "balance",
    "balance_manifest",
    "class_table",
    "make_space",
    "read_targets",
]
