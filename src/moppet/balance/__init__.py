"""Balancing: more of the rare classes, less of the common or doubtful, of training rows only.

`balance` works on features and labels, `balance_manifest` on a manifest's training rows in a
space of `make_space`. Whoever gives `balance` other rows than those of the training fold leaks.
"""

from moppet.balance.balanced_manifest import BalancedRows, balance_manifest
from moppet.balance.methods import BALANCERS, Balancer
from moppet.balance.resampling import Balanced, ClassCount, balance, class_table
from moppet.balance.samplers import Neighbors
from moppet.balance.spaces import SPACES, Space, make_space
from moppet.balance.targets import Targets, read_targets

__all__ = [
    "BALANCERS",
    "SPACES",
    "Balanced",
    "BalancedRows",
    "Balancer",
    "ClassCount",
    "Neighbors",
    "Space",
    "Targets",
    "balance",
    "balance_manifest",
    "class_table",
    "make_space",
    "read_targets",
]
