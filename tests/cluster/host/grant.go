package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"bridge/tests/cluster/plan"
)

// grant gives the developer the rights of the Role in the given file, in the one
// namespace, which it makes if it is not there. Without the file it does nothing. It
// runs at every `up`, as tests may have deleted the namespace.
func grant(ctx context.Context, c plan.Cluster, pid int, role string) error {
	if _, err := os.Stat(role); role == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	laptop, err := laptopNetns(pid)
	if err != nil {
		return err
	}
	defer laptop.Close()
	return inNetns(laptop, func() error {
		// Never applied: the namespace may be described elsewhere.
		if err := kubectl(ctx, c, "create", "-f", c.Path("etc/shop-namespace.yaml")); err == nil {
			if err := kubectl(ctx, c, "wait", "--for=create", "serviceaccount/default", "--timeout=60s"); err != nil {
				return err
			}
		} else if !strings.Contains(err.Error(), "AlreadyExists") {
			return err
		}
		return kubectl(ctx, c, "apply", "-f", role, "-f", c.Path("etc/developer-binding.yaml"))
	})
}

// kubectl runs as the admin, in the network of the calling thread.
func kubectl(ctx context.Context, c plan.Cluster, args ...string) error {
	args = append([]string{"--kubeconfig=" + c.Path("admin.kubeconfig"), "--namespace=" + plan.Namespace, "--cache-dir=" + c.Path("etc/cache")}, args...)
	cmd := exec.CommandContext(ctx, c.Path("bin/kubectl"), args...)
	cmd.Env = []string{"HOME=" + c.Path("etc"), "PATH=" + os.Getenv("PATH")} // no proxy of the machine
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args[3:], " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
