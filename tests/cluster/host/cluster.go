// Package host is what happens on the machine itself: starting the node, ending it,
// and letting commands into its namespaces and the laptop's. It needs root, and makes
// nothing on the machine but processes, cgroups and files below the cluster's Dir.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"bridge/tests/cluster/plan"
)

// NeedRoot is an error for everyone else.
func NeedRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for namespaces and cgroups")
	}
	return nil
}

var errDown = errors.New("the cluster is down: start it with tests/cluster/up")

// lock keeps two commands that change the cluster apart. It is on the directory, so
// that there is no file to be left behind, and goes with the process.
func lock(ctx context.Context, c plan.Cluster) (release func(), err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	d, err := os.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- syscall.Flock(int(d.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-locked:
		return func() { d.Close() }, err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the process is about to end, and the attempt with it
	}
}

// nodePID is the node's init, or 0. A recycled PID does not pass for it.
func nodePID(c plan.Cluster) int {
	b, err := os.ReadFile(c.Path("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil || !isNode(c, pid) {
		return 0
	}
	return pid
}

func isNode(c plan.Cluster, pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty for a zombie
	return err == nil && isNodeCommand(c, cmdline)
}

func isNodeCommand(c plan.Cluster, cmdline []byte) bool {
	program, rest, _ := bytes.Cut(cmdline, []byte{0})
	return filepath.Base(string(program)) == "cluster" && bytes.HasPrefix(rest, []byte(strings.Join(nodeArgs(c), "\x00")+"\x00"))
}

// InitCommand is the subcommand that is the node's init.
const InitCommand = "node-init"

func nodeArgs(c plan.Cluster) []string { return []string{InitCommand, c.Dir, c.Name} }

// strayNodes are inits of this cluster that the pid file does not name, because `up`
// was killed in between or someone removed the directory.
func strayNodes(c plan.Cluster) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*")
	for _, f := range files {
		if pid, err := strconv.Atoi(filepath.Base(f)); err == nil && isNode(c, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// running is the init of a node that is ready.
func running(c plan.Cluster) (int, error) {
	pid := nodePID(c)
	if pid == 0 {
		return 0, errDown
	}
	if _, err := os.Stat(c.Path("ready")); err != nil {
		return 0, errors.New("the cluster is still starting: wait for tests/cluster/up")
	}
	return pid, nil
}

// Status is an error unless the cluster is up.
func Status(c plan.Cluster) error {
	_, err := running(c)
	return err
}
