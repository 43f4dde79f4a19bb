"""Balancing of training rows: oversampling, undersampling and cleaning.

`balance` takes features and labels; give it rows of the training fold only, or the validation and
test rows leak. `balance_manifest` takes a manifest, in a space of `make_space`.
"""

from moppet.balance.balanced_manifest import BalancedRows, balance_manifest
from moppet.balance.methods import BALANCERS, Balancer, Neighbors
from moppet.balance.resampling import Balanced, ClassCount, balance, class_table
from moppet.balance.spaces import Space, make_space
from moppet.balance.targets import read_targets

__all__ = [
    "BALANCERS",
    "Balanced",
    "BalancedRows",
    "Balancer",
    "ClassCount",
    "Neighbors",
    "Space",
    "balance",
    "balance_manifest",
    "class_table",
    "make_space",
    "read_targets",
]
