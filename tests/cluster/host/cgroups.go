package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bridge/tests/cluster/plan"
)

// A cluster's cgroups, all below its name:
//
//	kubepods/  the kubelet's
//	system/    the node's programs
//	laptop/    every process started in the laptop, so that none outlives the cluster
const (
	system = "system"
	laptop = "laptop"
)

const cgroupfs = "/sys/fs/cgroup"

// hierarchies are the roots: one with cgroup v2, else one per v1 controller.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupfs}, nil
	}
	files, err := filepath.Glob(cgroupfs + "/*/cgroup.procs")
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, errors.New("no cgroups are mounted below "+cgroupfs))
	}
	for i, f := range files {
		files[i] = filepath.Dir(f)
	}
	return files, nil
}

func unified() bool {
	_, err := os.Stat(cgroupfs + "/cgroup.controllers")
	return err == nil
}

// laptopCgroup is where the laptop's processes are counted: with v1 in a hierarchy that
// has no controller, since there they get no share of anything, and so no less.
func laptopCgroup(c plan.Cluster) (string, error) {
	if unified() {
		return filepath.Join(cgroupfs, c.Name, laptop), nil
	}
	for _, h := range []string{"unified", "systemd", "pids"} {
		if _, err := os.Stat(filepath.Join(cgroupfs, h, "cgroup.procs")); err == nil {
			return filepath.Join(cgroupfs, h, c.Name, laptop), nil
		}
	}
	return "", errors.New("no cgroup hierarchy to keep the laptop's processes in")
}

// SystemCgroups are the files by which a process enters the node's cgroups.
func SystemCgroups(c plan.Cluster) ([]string, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var files []string
	for _, root := range roots {
		files = append(files, filepath.Join(root, c.Name, system, "cgroup.procs"))
	}
	return files, nil
}

func makeCgroups(c plan.Cluster) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		for _, cgroup := range []string{c.Name, c.Name + "/" + system} {
			if err := makeCgroup(root, cgroup); err != nil {
				return err
			}
		}
	}
	dir, err := laptopCgroup(c)
	if err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

func makeCgroup(root, cgroup string) error {
	dir := filepath.Join(root, cgroup)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if unified() && !strings.Contains(cgroup, "/") { // the kubelet's root hands its controllers on
		b, err := os.ReadFile(dir + "/cgroup.controllers")
		if err != nil {
			return err
		}
		for _, controller := range strings.Fields(string(b)) {
			if err := os.WriteFile(dir+"/cgroup.subtree_control", []byte("+"+controller), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	// A v1 cpuset starts empty, and no process can enter it so.
	for _, key := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), key))
		if errors.Is(err, fs.ErrNotExist) || unified() {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, key), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inLaptop tells whether this process belongs to the cluster's laptop.
func inLaptop(c plan.Cluster) bool {
	b, err := os.ReadFile("/proc/self/cgroup")
	return err == nil && bytes.Contains(b, []byte(":/"+c.Name+"/"+laptop+"\n"))
}

// cgroupDirs are all of the cluster's cgroups, the deepest first.
func cgroupDirs(c plan.Cluster) ([]string, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, root := range roots {
		var below []string
		filepath.WalkDir(filepath.Join(root, c.Name), func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() { // an error is a cgroup that has gone meanwhile
				below = append([]string{p}, below...)
			}
			return nil
		})
		dirs = append(dirs, below...)
	}
	return dirs, nil
}

// killCgroups ends every process in the cluster's cgroups, until there is none.
func killCgroups(c plan.Cluster) error {
	dirs, err := cgroupDirs(c)
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var left []string
		for _, d := range dirs {
			b, _ := os.ReadFile(d + "/cgroup.procs") // it may have gone
			left = append(left, strings.Fields(string(b))...)
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %s do not end", strings.Join(left, ", "))
		}
		for _, p := range left {
			if pid, err := strconv.Atoi(p); err == nil && pid > 0 {
				syscall.Kill(pid, syscall.SIGKILL) // an error is a process that has ended
			}
		}
	}
}

func removeCgroups(c plan.Cluster) error {
	dirs, err := cgroupDirs(c)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		err := syscall.Rmdir(d)
		for end := time.Now().Add(10 * time.Second); err == syscall.EBUSY && time.Now().Before(end); err = syscall.Rmdir(d) {
			time.Sleep(20 * time.Millisecond) // processes that have ended leave a moment later
		}
		if err != nil && err != syscall.ENOENT {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	return nil
}
