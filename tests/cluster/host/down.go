package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"bridge/tests/cluster/plan"
)

// Down ends the cluster and everything that was started in its laptop, and removes all
// that it made. Only the logs stay, until the next start.
func Down(ctx context.Context, c plan.Cluster) error {
	if inLaptop(c) {
		return errors.New("must be run outside of the laptop, which it ends")
	}
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return clean(c) // nobody has a lock on it, and it should not appear
	}
	release, err := lock(ctx, c)
	if err != nil {
		return err
	}
	defer release()
	return clean(c)
}

// clean needs nothing to be there, and so removes also what is left of a start that
// was cut short anywhere.
func clean(c plan.Cluster) error {
	for _, pid := range strayNodes(c) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("ending process %d: %w", pid, err)
		}
		for end := time.Now().Add(time.Minute); !ended(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("process %d does not end", pid)
			}
		}
	}
	if err := killCgroups(c); err != nil {
		return err
	}
	if err := removeCgroups(c); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !ours[e.Name()] {
			continue
		}
		if err := os.RemoveAll(c.Path(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// ended tells whether a process has gone, or is a zombie: then all of its PID namespace
// has gone before it. Its command line goes earlier.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// ours are the entries of the directory, but log: someone may have named a directory
// that holds other things as well.
var ours = map[string]bool{"pid": true, "ready": true, "bin": true, "path": true, "etc": true, "pki": true, "images": true,
	"lib": true, "users": true, "admin.kubeconfig": true, "developer.kubeconfig": true}

func lastLine(file string) string {
	b, _ := os.ReadFile(file) // for an error message only
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
