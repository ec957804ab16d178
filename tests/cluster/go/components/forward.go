package main

import (
	"fmt"
	"io"
	"net"
)

// forward copies each connection to LISTEN on to TARGET (both host:port), for ever. It gives the nodes a way to the
// API server, which listens on the loopback address only.
func forward(addresses []string) error {
	if len(addresses) != 2 {
		return fmt.Errorf("usage: testcluster forward LISTEN TARGET")
	}
	listener, err := net.Listen("tcp", addresses[0])
	if err != nil {
		return err
	}
	for {
		incoming, err := listener.Accept()
		if err != nil {
			return err
		}
		go connect(incoming, addresses[1])
	}
}

func connect(incoming net.Conn, target string) {
	defer incoming.Close()
	outgoing, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer outgoing.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{incoming, outgoing}, {outgoing, incoming}} {
		go func() {
			io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	// TLS has no use for half-open connections: the first end is the end of both.
	<-ended
}
