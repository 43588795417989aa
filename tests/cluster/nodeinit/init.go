// Package nodeinit is the init of the node's namespaces: it makes the node's mounts and
// network, starts containerd and the Kubernetes programs, and keeps them running. When
// it ends, for whatever reason, the kernel ends every process of the node and takes
// the namespaces away with all that was made in them.
package nodeinit

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"bridge/tests/cluster/plan"
)

// What `up` hands over, after standard error.
const (
	LaptopFD = 3 // the laptop's network namespace, which lives as long as this process
	AliveFD  = 4 // ends when `up` does: a node that is not ready then goes as well
)

// Init does not return unless it fails. Cgroups are the files that take the node's
// programs into its cgroups.
func Init(c plan.Cluster, cgroups []string) error {
	syscall.CloseOnExec(LaptopFD)
	syscall.CloseOnExec(AliveFD)
	if os.Getpid() != 1 {
		return errors.New("is started by `up` alone")
	}
	var ready atomic.Bool
	go func() {
		io.Copy(io.Discard, os.NewFile(AliveFD, "alive"))
		if !ready.Load() {
			say("nobody waits for this node any more")
			os.Exit(1)
		}
	}()
	go reap()
	for _, f := range cgroups { // before the mounts: /sys/fs/cgroup is as on the machine
		if err := os.WriteFile(f, []byte("0"), 0); err != nil {
			return err
		}
	}
	if err := mounts(c); err != nil {
		return err
	}
	if err := os.Setenv("PATH", plan.Inside+"/bin:"+os.Getenv("PATH")); err != nil {
		return err
	}
	if err := network(); err != nil {
		return err
	}
	if err := daemons(); err != nil {
		return err
	}
	if err := addons(); err != nil {
		return err
	}
	ready.Store(true)
	if err := os.WriteFile(plan.Inside+"/ready", nil, 0o644); err != nil {
		return err
	}
	select {}
}

// addons applies what runs in the cluster itself, and waits until a pod can be made.
func addons() error {
	kubectl := func(args ...string) error {
		return command("kubectl", "kubectl", append([]string{"--kubeconfig=" + plan.Inside + "/admin.kubeconfig"}, args...)...)
	}
	for _, args := range [][]string{
		{"apply", "-f", plan.Inside + "/etc/addons.yaml"},
		{"wait", "--for=create", "node/" + plan.NodeName, "--timeout=120s"},
		{"wait", "--for=condition=Ready", "node/" + plan.NodeName, "--timeout=120s"},
		{"-n", "default", "wait", "--for=create", "serviceaccount/default", "--timeout=60s"},
		{"-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"},
	} {
		if err := kubectl(args...); err != nil {
			return err
		}
	}
	return nil
}

// importImages puts the cluster's own images into containerd.
func importImages() error {
	if err := wait("containerd", 60*time.Second, func() error { return dial("unix", "/run/containerd/containerd.sock") }); err != nil {
		return err
	}
	archives, err := filepath.Glob(plan.Inside + "/images/*.tar")
	if err != nil {
		return err
	}
	for _, f := range archives {
		if err := command("images", "ctr", "-n", "k8s.io", "images", "import", f); err != nil {
			return err
		}
	}
	return nil
}
