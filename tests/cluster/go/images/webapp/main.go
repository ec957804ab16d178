// Command webapp is a web server that says its host's name, and its own client, for images that hold nothing else.
//
//	webapp serve :PORT
//	webapp get URL
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: webapp {serve ADDRESS|get URL}"))
	}
	run := map[string]func(string) error{"serve": serve, "get": get}[os.Args[1]]
	if run == nil {
		fail(fmt.Errorf("webapp cannot %s", os.Args[1]))
	}
	if err := run(os.Args[2]); err != nil {
		fail(err)
	}
}

func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }
	return http.ListenAndServe(address, http.HandlerFunc(answer))
}

func get(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
