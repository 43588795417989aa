// A client in Go, static: client KIND HOST:PORT… prints "HOST:PORT ANSWER" for each. PATIENCE is how many seconds it
// waits for one. Two kinds are no clients: `echo` is the server that answers datagrams, and `many` is load.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

var kinds = map[string]func(at string) (string, error){
	"http":            askHTTP,
	"udp":             askConnected,
	"udp-unconnected": askUnconnected,
	"grpc":            askGRPC,
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "echo" {
		fail(echo(":7007"))
	}
	if len(os.Args) == 5 && os.Args[1] == "many" {
		fail(many(os.Args[2], os.Args[3], os.Args[4]))
	}
	if len(os.Args) < 3 || kinds[os.Args[1]] == nil {
		fail(fmt.Errorf("usage: client http|udp|udp-unconnected|grpc HOST:PORT… | many COUNT AT_A_TIME HOST:PORT | echo"))
	}
	for _, at := range os.Args[2:] {
		answer, err := kinds[os.Args[1]](at)
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(at, strings.TrimSpace(answer))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func patience() time.Duration {
	if seconds, err := strconv.Atoi(os.Getenv("PATIENCE")); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return 10 * time.Second
}
