package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bridge/tests/cluster/plan"
)

// Laptop replaces this process by a command in the laptop's network, run as the given
// user (of the machine) with the kubeconfig of who (of the cluster). It returns only
// when that fails. It must be called on the main thread.
func Laptop(c plan.Cluster, who string, uid int, args []string) error {
	pid, err := running(c)
	if err != nil {
		return err
	}
	u, err := newUser(c, uid)
	if err != nil {
		return err
	}
	kubeconfig, err := u.kubeconfig(c, who)
	if err != nil {
		return err
	}
	cgroup, err := laptopCgroup(c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("entering the laptop's cgroup: %w", err)
	}
	ns, err := laptopNetns(pid)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the laptop's network: %w", err)
	}
	if err := ownResolver(c.Path("etc/laptop-resolv.conf")); err != nil {
		return err
	}
	if uid != 0 {
		if err := become(uid); err != nil {
			return err
		}
	}
	return execve(args, u.environment(c, os.Environ(), kubeconfig))
}

// ownResolver puts a file over /etc/resolv.conf, for this thread and what it becomes:
// the machine's resolver cannot be reached from here, and is not the laptop's.
func ownResolver(file string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	err := unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, "")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no file there means loopback, which is as good
		return fmt.Errorf("covering /etc/resolv.conf: %w", err)
	}
	return nil
}

// become drops every privilege of root.
func become(uid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(uid); err != nil {
		return fmt.Errorf("setgid: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("setuid: %w", err)
	}
	return nil
}

// Node replaces this process by a command inside the node, as root and as admin.
func Node(c plan.Cluster, args []string) error {
	enter, err := nodeCommand(c, args...)
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "PATH=") || strings.HasPrefix(e, "HOME=") || strings.HasPrefix(e, "KUBECONFIG=")
	})
	env = append(env, "PATH="+plan.Inside+"/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/run", "KUBECONFIG="+plan.Inside+"/admin.kubeconfig")
	return execve(enter, env)
}

func nodeCommand(c plan.Cluster, args ...string) ([]string, error) {
	pid, err := running(c)
	if err != nil {
		return nil, err
	}
	return append([]string{"nsenter", "-t", strconv.Itoa(pid), "-m", "-u", "-i", "-n", "-p", "--"}, args...), nil
}

func execve(args, env []string) error {
	for _, e := range env { // the command is looked up where it will run
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return err
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, args, env))
}

// Load imports image archives into the node's containerd. They go through standard
// input, as the node does not see all of the machine's files.
func Load(c plan.Cluster, files []string) error {
	for _, name := range files {
		enter, err := nodeCommand(c, "ctr", "-n", "k8s.io", "images", "import", "-")
		if err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd := exec.Command(enter[0], enter[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
