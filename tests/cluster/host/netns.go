package host

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"bridge/tests/cluster/nodeinit"
)

// onThread runs f on a thread of its own, which ends with f: f may move the thread to
// other namespaces, and the programs that f starts are started there.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks
		done <- f()
	}()
	return <-done
}

// newNetns makes a network namespace with nothing but a loopback interface. It has no
// name on the machine, and lives as long as someone has the file open.
func newNetns() (ns *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return run("ip", "link", "set", "lo", "up")
	})
	return ns, err
}

// inNetns runs f in a network namespace.
func inNetns(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// laptopNetns opens the laptop's network namespace, which the node's init holds.
func laptopNetns(pid int) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/%d/fd/%d", pid, nodeinit.LaptopFD))
}

// nodeNetns opens the node's own.
func nodeNetns(pid int) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
}

func run(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return nil
}
