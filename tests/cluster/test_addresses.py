"""Clusters side by side share nothing."""

import pytest

from testcluster import addresses
from testcluster.addresses import Addresses, free_ports, reserved_slot
from testcluster.errors import ClusterError


def test_clusters_in_different_slots_share_no_address_and_no_port():
    def all_of(slot):
        cluster = Addresses(slot)
        nets = [cluster.cluster_network, cluster.services, cluster.host, cluster.api_service]
        return {*nets, *(cluster.pods(number) for number in range(1, 16)), *cluster.ports}

    slots = [all_of(slot) for slot in range(addresses.SLOTS)]

    assert len(set.union(*slots)) == sum(map(len, slots))


def test_a_slot_is_held_by_one_at_a_time():
    with reserved_slot() as one, reserved_slot() as other:
        assert one != other


def test_a_port_on_which_somebody_listens_is_not_free():
    candidates = Addresses(addresses.SLOTS).ports  # nobody's
    first, second = free_ports(candidates, 2)
    with addresses.socket.create_server(("127.0.0.1", first)):
        assert free_ports(candidates, 1) == [second]


def test_too_few_free_ports_say_where():
    with pytest.raises(ClusterError, match=r"Too few free ports on 127\.0\.0\.1 in 30000–30001"):
        free_ports(range(30000, 30002), 3)
