package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bridge/tests/cluster/config"
	"bridge/tests/cluster/plan"
)

const proxyHealth = "127.0.0.1:10256"

// ProxySync changes kube-proxy's minSyncPeriod while the cluster runs: it restarts
// kube-proxy, whose rules stay in force meanwhile, and waits until it is back.
func ProxySync(ctx context.Context, c plan.Cluster, period time.Duration) error {
	release, err := lock(ctx, c)
	if err != nil {
		return err
	}
	defer release()
	pid, err := running(c)
	if err != nil {
		return err
	}
	if err := config.WriteProxy(c, period); err != nil {
		return err
	}
	if err := killProxy(c); err != nil {
		return err
	}
	ns, err := nodeNetns(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("kube-proxy does not come back; see "+c.Path("log/kube-proxy.log")))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if inNetns(ns, proxyHealthy) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// killProxy ends kube-proxy and returns when it has ended. The node's init starts it again.
func killProxy(c plan.Cluster) error {
	files, err := SystemCgroups(c)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(files[0]) // every hierarchy has the same processes
	if err != nil {
		return err
	}
	for _, p := range strings.Fields(string(b)) {
		comm, _ := os.ReadFile("/proc/" + p + "/comm") // it may have ended
		if string(comm) != "kube-proxy\n" {
			continue
		}
		pid, err := strconv.Atoi(p)
		if err != nil {
			return err
		}
		for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, syscall.SIGKILL) != syscall.ESRCH; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("kube-proxy (%d) does not end", pid)
			}
		}
	}
	return nil
}

// proxyHealthy asks in the network of the calling thread: a socket belongs to where it
// is made, and the HTTP client would make it on another thread.
func proxyHealthy() error {
	conn, err := net.Dial("tcp", proxyHealth)
	if err != nil {
		return err
	}
	defer conn.Close()
	t := &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	r, err := (&http.Client{Transport: t, Timeout: time.Second}).Get("http://" + proxyHealth + "/healthz")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return errors.New(r.Status)
	}
	return nil
}
