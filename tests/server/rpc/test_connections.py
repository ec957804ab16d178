import socket

from modelserver.rpc.transport.connections import count_connections, count_established

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2134 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 1 1
   1: 0100007F:2134 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 65532        0 2 1
   2: 0100007F:9C40 0100007F:2134 01 00000000:00000000 00:00000000 00000000 65532        0 3 1
   3: 0100007F:2134 0100007F:9C42 06 00000000:00000000 00:00000000 00000000     0        0 0 3
"""


def test_only_the_established_connections_of_the_port_itself_count():
    assert count_established(TABLE.splitlines(), 0x2134) == 1


def test_a_port_nobody_is_connected_to_has_none():
    assert count_established(TABLE.splitlines(), 1) == 0


def test_the_systems_own_table_is_read():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert count_connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            assert count_connections(port) == 1
