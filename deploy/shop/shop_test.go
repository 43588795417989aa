package main

// What the tests share: services on loopback ports that the kernel chose, ended when the
// test does.

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ending is a lifetime that the test closes.
type ending struct {
	lifetime
	signals chan os.Signal
}

func newEnding(drain time.Duration) ending {
	signals := make(chan os.Signal, 2)
	return ending{lifetimeFrom(signals, drain), signals}
}

func (e ending) sigterm() { e.signals <- syscall.SIGTERM }

// serve runs one service until the test ends, and fails it when the end is not clean.
func serve(t *testing.T, life ending, run func(net.Listener) error) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run(l) }()
	t.Cleanup(func() {
		select {
		case life.signals <- os.Interrupt:
		default:
		}
		if err := <-ended; err != nil {
			t.Errorf("the service did not end cleanly: %v", err)
		}
	})
	return l.Addr().String()
}

func startStock(t *testing.T, name string) string {
	life := newEnding(0)
	return serve(t, life, (&stock{name, life.lifetime}).serve)
}

func startPrices(t *testing.T, name string) string {
	life := newEnding(0)
	return serve(t, life, func(l net.Listener) error { return serveGRPC(l, newPrices(name), life.lifetime) })
}

func startHTTP(t *testing.T, h http.Handler) string {
	life := newEnding(0)
	return serve(t, life, func(l net.Listener) error { return serveHTTP(l, h, life.lifetime) })
}

func startOrders(t *testing.T, name, pricesAddr, stockAddr string) string {
	life := newEnding(0)
	s := &orders{
		name: name, pricesAddr: pricesAddr, stockAddr: stockAddr,
		menuFile: "testdata/menu.txt", patience: 5 * time.Second, life: life.lifetime,
	}
	return serve(t, life, s.serve)
}

// nowhere is an address at which connections are refused.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// runClient is `shop client ARGS…`: what it prints, and its error.
func runClient(t *testing.T, run func(*client, context.Context) error, kind string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	c, err := newClient(kind, args, &out)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
	defer cancel()
	err = run(c, ctx)
	return out.String(), err
}

// must is runClient where an answer is expected.
func must(t *testing.T, run func(*client, context.Context) error, kind string, args ...string) string {
	t.Helper()
	out, err := runClient(t, run, kind, args...)
	if err != nil {
		t.Fatalf("shop client %s %q: %v", kind, args, err)
	}
	return out
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
