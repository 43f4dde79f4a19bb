"""The networks that can be trained; each returns logits and an embedding."""

from moppet.train.networks.alexnet import AlexNet
from moppet.train.networks.base import EMBEDDING_SIZE, Network
from moppet.train.networks.childcnn import ChildCnn
from moppet.train.networks.googlenet import GoogLeNet
from moppet.train.networks.mobilenet import (
    DepthwiseConv,
    InvertedResidual,
    MobileNet,
    MobileNetV1,
    MobileNetV2,
)
from moppet.train.networks.registry import (
    NETWORKS,
    Cost,
    build_network,
    cost,
    find_network,
    load_network,
)
from moppet.train.networks.resnet import ResNet18
from moppet.train.networks.weights import load_checkpoint, load_folded, save_network

__all__ = [
    "EMBEDDING_SIZE",
    "NETWORKS",
    "AlexNet",
    "ChildCnn",
    "Cost",
    "DepthwiseConv",
    "GoogLeNet",
    "InvertedResidual",
    "MobileNet",
    "MobileNetV1",
    "MobileNetV2",
    "Network",
    "ResNet18",
    "build_network",
    "cost",
    "find_network",
    "load_checkpoint",
    "load_folded",
    "load_network",
    "save_network",
]
