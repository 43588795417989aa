// Command cluster runs a real one-node Kubernetes on one Linux machine, for end-to-end
// tests. The scripts beside the module call it; see README.md.
//
//	cluster up [-role FILE] [-scripts DIR]     start it, unless it is up, and say how to use it
//	cluster down                               end it, and remove everything but the logs
//	cluster status                             exit 0 if it is up
//	cluster laptop|admin [--uid N] CMD...      run CMD in the laptop's network
//	cluster node CMD...                        run CMD inside the node
//	cluster load FILE...                       put image archives into the node's containerd
//	cluster proxy-sync PERIOD                  change kube-proxy's minSyncPeriod
//	cluster node-init ...                      the node's init
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"bridge/tests/cluster/host"
	"bridge/tests/cluster/nodeinit"
	"bridge/tests/cluster/plan"
)

var errInterrupted = errors.New("interrupted")

func main() {
	if len(os.Args) < 2 {
		fail("cluster", errors.New("which command? See tests/cluster/README.md"))
	}
	if err := command(os.Args[1], os.Args[2:]); err != nil {
		fail(os.Args[1], err)
	}
}

func fail(command string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", command, err)
	switch {
	case errors.Is(err, errInterrupted):
		os.Exit(130)
	case errors.Is(err, errUsage):
		os.Exit(2)
	}
	os.Exit(1)
}

var errUsage = errors.New("wrong arguments; see tests/cluster/README.md")

func command(name string, args []string) error {
	if name == host.InitCommand {
		return nodeInit(args)
	}
	c, err := plan.FromEnv()
	if err != nil {
		return err
	}
	if err := host.NeedRoot(); err != nil {
		return err
	}
	switch name {
	case "up":
		return up(c, args)
	case "down":
		ctx, stop := interruptible()
		defer stop()
		return host.Down(ctx, c)
	case "status":
		return host.Status(c)
	case "laptop":
		return laptop(c, "developer", args)
	case "admin":
		return laptop(c, "admin", args)
	case "node":
		if len(args) == 0 {
			return errUsage
		}
		return host.Node(c, args)
	case "load":
		if len(args) == 0 {
			return errUsage
		}
		return host.Load(c, args)
	case "proxy-sync":
		return proxySync(c, args)
	}
	return errUsage
}

// interruptible ends with Ctrl-C, so that what was begun is undone.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel(errInterrupted)
	}()
	return ctx, func() { cancel(nil) }
}

func up(c plan.Cluster, args []string) error {
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	role := flags.String("role", "", "a file with the developer's Role")
	scripts := flags.String("scripts", ".", "where the scripts are, for the text at the end")
	flags.Parse(args)
	period, err := plan.ProxySync(os.Getenv("BRIDGE_CLUSTER_PROXY_SYNC"))
	if err != nil {
		return fmt.Errorf("BRIDGE_CLUSTER_PROXY_SYNC: %w", err)
	}
	ctx, stop := interruptible()
	defer stop()
	begin := time.Now()
	if err := host.Up(ctx, c, host.Options{ProxySync: period, Role: *role}); err != nil {
		return err
	}
	describe(c, *scripts, time.Since(begin))
	return nil
}

func describe(c plan.Cluster, scripts string, took time.Duration) {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, scripts); err == nil && len(rel) < len(scripts) {
			scripts = rel
		}
	}
	fmt.Printf(`The cluster is up (%.1f s).
  %[2]s/laptop CMD...        as the developer, in the laptop's network (namespace %[3]s)
  %[2]s/admin CMD...         the same as the cluster's admin, such as: %[2]s/admin kubectl get pods -A
  %[2]s/laptop --uid N ...   as that user of this machine
  %[2]s/load IMAGE.tar...    images for the node, which pulls none
  %[2]s/node CMD...          inside the node
  %[2]s/down                 ends it; logs are in %[4]s
`, took.Seconds(), scripts, plan.Namespace, c.Path("log"))
}

func laptop(c plan.Cluster, who string, args []string) error {
	flags := flag.NewFlagSet(who, flag.ExitOnError)
	uid := flags.Int("uid", 0, "the user to become, and its group of the same number")
	flags.Parse(args) // ends at CMD
	if flags.NArg() == 0 || *uid < 0 {
		return errUsage
	}
	return host.Laptop(c, who, *uid, flags.Args())
}

func proxySync(c plan.Cluster, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	period, err := plan.ProxySync(args[0])
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	return host.ProxySync(ctx, c, period)
}

func nodeInit(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	c, err := plan.New(args[0], args[1])
	if err != nil {
		return err
	}
	cgroups, err := host.SystemCgroups(c)
	if err != nil {
		return err
	}
	return nodeinit.Init(c, cgroups)
}
