package nodeinit

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"bridge/tests/cluster/plan"
)

// covered are sysctls that the kubelet sets for the whole machine. The node sees plain
// files in their place, set already, and the machine keeps its own.
var covered = map[string]string{
	"vm/overcommit_memory":     "1",
	"vm/panic_on_oom":          "0",
	"kernel/panic":             "10",
	"kernel/panic_on_oops":     "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// mounts gives the node its own /proc, /run, /var/lib and /var/log, so that every
// program keeps its default paths and the machine's are untouched. All of it goes with
// the mount namespace.
func mounts(c plan.Cluster) error {
	dir, err := os.Open(c.Dir) // its path may be under one of those
	if err != nil {
		return err
	}
	defer dir.Close()
	mount := func(source, target, fstype string, flags uintptr) error {
		if err := syscall.Mount(source, target, fstype, flags, ""); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", source, target, err)
		}
		return nil
	}
	for _, step := range []func() error{
		func() error { return mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE) }, // nothing made here reaches the machine
		func() error { return mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED) },  // the kubelet's mounts reach containerd's pods
		func() error { return mount("proc", "/proc", "proc", 0) },
		func() error { return mount("tmpfs", "/run", "tmpfs", 0) },
		func() error { return os.MkdirAll(plan.Inside, 0o755) },
		func() error {
			return mount(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), plan.Inside, "", syscall.MS_BIND)
		},
		func() error { return mount(plan.Inside+"/lib", "/var/lib", "", syscall.MS_BIND) },
		func() error { return mount(plan.Inside+"/log", "/var/log", "", syscall.MS_BIND) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for name, value := range covered {
		f := "/run/sysctl-" + filepath.Base(name)
		if err := os.WriteFile(f, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(f, "/proc/sys/"+name, "", syscall.MS_BIND); err != nil {
			return err
		}
	}
	return syscall.Sethostname([]byte(plan.NodeName))
}
