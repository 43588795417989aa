package config

import (
	"os"
	"strings"
	"testing"
	"time"

	"bridge/tests/cluster/plan"
)

func TestWrite(t *testing.T) {
	c, err := plan.New(t.TempDir(), "some-name")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(c, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"etc/kube-proxy.yaml":        "minSyncPeriod: 100ms",
		"etc/kubelet.yaml":           "cgroupRoot: /some-name",
		"etc/cni/10-pods.conflist":   plan.PodCIDR,
		"etc/containerd.toml":        plan.PauseImage,
		"etc/addons.yaml":            plan.CoreDNSImage,
		"developer.kubeconfig":       "namespace: \"shop\"",
		"etc/kube-proxy.kubeconfig":  plan.APIURL,
		"pki/apiserver-kubelet.key":  "PRIVATE KEY",
		"pki/apiserver-kubelet.crt":  "CERTIFICATE",
		"etc/resolv.conf":            "nameserver",
		"etc/laptop-resolv.conf":     "nameserver",
		"etc/netpol.kubeconfig":      "netpol",
		"etc/kubelet.kubeconfig":     "system:node:",
		"etc/developer-binding.yaml": "name: developer",
	} {
		if got := read(t, c.Path(file)); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", file, want, got)
		}
	}
	if err := WriteProxy(c, time.Second); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c.Path("etc/kube-proxy.yaml")); !strings.Contains(got, "minSyncPeriod: 1s") {
		t.Error(got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
