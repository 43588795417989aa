package main

// How a service ends: after SIGTERM it goes on serving for a while, because
// other nodes learn late that the pod is leaving, then closes its listener and lets
// what is in flight finish.

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// lastWords bounds what is in flight after the listener is closed. Together with the
// drain it stays below Kubernetes' default grace period of 30 s.
const lastWords = 20 * time.Second

// lifetime is the two moments of an end: first draining, later closing.
type lifetime struct {
	draining context.Context
	closing  context.Context
}

// untilSignal ends at SIGTERM after SHOP_DRAIN (5s unless set), at SIGINT or a second
// signal at once.
func untilSignal() (lifetime, error) {
	drain, err := time.ParseDuration(envOr("SHOP_DRAIN", "5s"))
	if err != nil {
		return lifetime{}, fmt.Errorf("SHOP_DRAIN: %w", err)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	return lifetimeFrom(signals, drain), nil
}

func lifetimeFrom(signals <-chan os.Signal, drain time.Duration) lifetime {
	draining, startDrain := context.WithCancel(context.Background())
	closing, startClose := context.WithCancel(context.Background())
	go func() {
		first := <-signals
		startDrain()
		if first == syscall.SIGTERM {
			log.Printf("stopping: serving for another %v", drain)
			select {
			case <-time.After(drain):
			case <-signals:
			}
		}
		startClose()
	}()
	return lifetime{draining, closing}
}

// serveHTTP serves until the lifetime closes; nil is a clean end.
func serveHTTP(l net.Listener, h http.Handler, life lifetime) error {
	srv := &http.Server{
		Handler:           closeWhileDraining(h, life),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       10 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-life.closing.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		return srv.Close()
	}
	return nil
}

// closeWhileDraining tells callers with a kept connection to make a new one, which then
// leads to another pod. Without it they would meet the end as a reset.
func closeWhileDraining(h http.Handler, life lifetime) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if life.draining.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// listen opens the role's port: PORT, unless the environment does not say.
func listen(role, otherwise string) (net.Listener, error) {
	l, err := net.Listen("tcp", ":"+envOr("PORT", otherwise))
	if err != nil {
		return nil, err
	}
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	log.Printf("%s, %s, listens on %v", role, myName(), l.Addr())
	return l, nil
}

// sleepRole keeps a pod alive for `kubectl exec`. As process 1 it gets no signal that
// it does not ask for.
func sleepRole([]string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	<-signals
	return nil
}
