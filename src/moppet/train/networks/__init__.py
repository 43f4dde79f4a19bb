"""The networks that can be trained; each returns logits and an embedding."""

from moppet.train.networks.base import EMBEDDING_SIZE, Network
from moppet.train.networks.mobilenet import MobileNet
from moppet.train.networks.registry import NETWORKS, build_network, cost, find_network, load_network
from moppet.train.networks.weights import load_checkpoint, load_folded, save_network

__all__ = [
    "EMBEDDING_SIZE",
    "NETWORKS",
    "MobileNet",
    "Network",
    "build_network",
    "cost",
    "find_network",
    "load_checkpoint",
    "load_folded",
    "load_network",
    "save_network",
]
