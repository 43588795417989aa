package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bridge/tests/cluster/config"
	"bridge/tests/cluster/image"
	"bridge/tests/cluster/nodeinit"
	"bridge/tests/cluster/plan"
)

// Options of Up.
type Options struct {
	ProxySync time.Duration // kube-proxy's minSyncPeriod
	Role      string        // a file with the Role of the developer, or ""
}

// patience is for a machine that is busy with builds; it takes five seconds.
const patience = 5 * time.Minute

// Up starts the cluster, unless it is up, and returns when a pod can be made. When it
// fails, or ctx ends, nothing stays but the logs.
func Up(ctx context.Context, c plan.Cluster, o Options) (err error) {
	release, err := lock(ctx, c)
	if err != nil {
		return err
	}
	defer release()
	pid, err := running(c)
	if err != nil {
		if inLaptop(c) {
			return errors.New("must be run outside of the laptop")
		}
		// Leftovers of a crash, or of an `up` that was killed.
		if err := clean(c); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, clean(c))
			}
		}()
		if err := prepare(c, o); err != nil {
			return err
		}
		if pid, err = start(ctx, c); err != nil {
			return err
		}
	}
	return grant(ctx, c, pid, o.Role)
}

// minFree is enough for the images, the pods and their logs; the kubelet evicts pods below 100 MiB.
const minFree = 1 << 30

// enoughSpace fails where pods would soon be evicted: they would only be seen not to start.
func enoughSpace(directory string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(directory, &disk); err != nil {
		return fmt.Errorf("statfs %s: %w", directory, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < minFree {
		return fmt.Errorf("the disk of %s has %d MiB free, and the cluster needs %d: free some (builds leave much in target)",
			directory, free>>20, minFree>>20)
	}
	return nil
}

// daemons are the names that the Kubernetes binary goes by.
var daemons = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "netpol"}

// prepare writes everything that the node needs into the cluster's directory. The
// programs are copied: what is built later is not for this cluster.
func prepare(c plan.Cluster, o Options) error {
	if err := os.RemoveAll(c.Path("log")); err != nil {
		return err
	}
	for _, d := range []string{"bin", "path", "images", "lib", "log/pods"} {
		if err := os.MkdirAll(c.Path(d), 0o755); err != nil {
			return err
		}
	}
	if err := enoughSpace(c.Path("lib")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	built := filepath.Dir(self)
	for _, f := range []string{"cluster", "kubernetes", "kubectl"} {
		if err := copyFile(filepath.Join(built, f), c.Path("bin", f)); err != nil {
			return err
		}
	}
	for _, p := range daemons {
		if err := os.Symlink("kubernetes", c.Path("bin", p)); err != nil {
			return err
		}
	}
	if err := os.Symlink("../bin/kubectl", c.Path("path/kubectl")); err != nil {
		return err
	}
	for file, i := range map[string]image.Image{
		"tool.tar":    {Names: []string{plan.PauseImage, plan.ToolImage}, User: "65532:65532", Binary: filepath.Join(built, "tool")},
		"coredns.tar": {Names: []string{plan.CoreDNSImage}, User: "0:0", Binary: filepath.Join(built, "coredns")},
	} {
		if err := image.Build(c.Path("images", file), i); err != nil {
			return err
		}
	}
	if err := config.Write(c, o.ProxySync); err != nil {
		return err
	}
	return makeCgroups(c)
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// start starts the node's init in namespaces of its own, ties it to the laptop's, and
// waits until it is ready.
func start(ctx context.Context, c plan.Cluster) (int, error) {
	laptop, err := newNetns()
	if err != nil {
		return 0, err
	}
	defer laptop.Close()
	// The node sees by this pipe whether we are still there.
	alive, held, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer held.Close()
	defer alive.Close()
	log, err := os.Create(c.Path("log/node.log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()

	cmd := exec.Command(c.Path("bin/cluster"), nodeArgs(c)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.ExtraFiles = []*os.File{nodeinit.LaptopFD - 3: laptop, nodeinit.AliveFD - 3: alive}
	// Memory is there, two processors are not: what they spend on collecting garbage is a fifth of their work.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run", "GOGC=400"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := os.WriteFile(c.Path("pid"), []byte(pid), 0o644); err != nil {
		return 0, err
	}
	if err := connect(laptop, pid); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %v; see %s", patience, c.Path("log")))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case err := <-gone:
			return 0, fmt.Errorf("the node ended (%v): %s; see %s", err, lastLine(log.Name()), c.Path("log"))
		case <-tick.C:
		}
		if _, err := os.Stat(c.Path("ready")); err == nil {
			return cmd.Process.Pid, nil
		}
	}
}

// connect makes the pair between laptop and node. It is made inside the laptop, so that
// neither end is ever in the machine's own network.
func connect(laptop *os.File, pid string) error {
	return inNetns(laptop, func() error {
		for _, args := range [][]string{
			{"link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", pid},
			{"addr", "add", plan.LaptopIP + "/24", "dev", "eth0"},
			{"link", "set", "eth0", "up"},
		} {
			if err := run("ip", args...); err != nil {
				return err
			}
		}
		return nil
	})
}
