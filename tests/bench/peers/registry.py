"""All peers, in the order in which they take turns and are reported."""

from peers import grpcio, http_servers, kserve, limit, mlserver, ours, triton
from peers.base import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer
    for module in (limit, ours, triton, grpcio, mlserver, kserve, http_servers)
    for peer in module.PEERS
}

ELSEWHERE = {
    "TensorFlow Serving": "comes as a container image or from a Debian repository of its own",
    "OpenVINO Model Server": "comes as a container image or as an archive",
}
"""Servers that would belong here but are in no package registry, and what they come as."""
