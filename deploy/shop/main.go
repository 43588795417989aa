// Shop is the sample application of bridge's demo, tests and docs: four small
// services in one static program, and the clients that the tests run inside pods.
// Every answer names the pod, or the laptop, that gave it.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: shop ROLE [FLAGS]

services:
  web      HTTP/1 on :8080; calls orders and hands on the caller's routing headers
  orders   HTTP/1 and WebSocket on :8080; calls prices (gRPC) and stock (TCP)
  prices   gRPC on :50051 without TLS; all four kinds of call
  stock    a line protocol on :7070 in which the server speaks first

clients:
  client   one request: http, ws, grpc or stock
  load     many requests, counted; prints one JSON line at its end
  sleep    waits for SIGTERM: a pod to run the other two in

"shop client" and "shop load -h" say more.
`

func main() {
	roles := map[string]func(args []string) error{
		"web":    webRole,
		"orders": ordersRole,
		"prices": pricesRole,
		"stock":  stockRole,
		"client": clientRole,
		"load":   loadRole,
		"sleep":  sleepRole,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := roles[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "shop %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
