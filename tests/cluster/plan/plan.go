// Package plan says once where everything is: the addresses inside the cluster, and
// the names and paths of one cluster on the machine. Two clusters have the same
// addresses, each in network namespaces of its own, and differ in Dir and Name.
package plan

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// The addresses. They exist only inside the cluster's namespaces.
const (
	LaptopIP   = "10.77.0.1"
	NodeIP     = "10.77.0.2"
	NodeName   = "node1"
	ClusterNet = "10.244.0.0/16" // pods
	PodCIDR    = "10.244.0.0/24" // this node's share of ClusterNet
	ServiceNet = "10.96.0.0/16"
	APIIP      = "10.96.0.1" // the first of ServiceNet, which the API server takes
	DNSIP      = "10.96.0.10"
	APIURL     = "https://" + NodeIP + ":6443"
)

const (
	Developer = "developer" // the user of the laptop; what it may do is deploy/rbac-developer.yaml
	Namespace = "shop"      // where it may do it, and the default namespace of every kubeconfig
	Context   = "bridge-test"
)

// Inside is where the node's programs see Dir: the node has a /var/lib of its own, so
// Dir's own path may mean nothing there.
const Inside = "/run/cluster"

// Images of the cluster's own. There is no registry of this name.
const (
	PauseImage   = "cluster.local/pause:1"
	ToolImage    = "cluster.local/tool:1"
	CoreDNSImage = "cluster.local/coredns:1"
)

// DefaultProxySync is shorter than Kubernetes' own 1 s, which would be most of the
// time of a test that waits for a Service to lead elsewhere.
const DefaultProxySync = 100 * time.Millisecond

// Cluster is one cluster on this machine.
type Cluster struct {
	Dir  string // holds all of its files
	Name string // of its cgroup
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`) // no dots: never a systemd unit's cgroup

// New checks what it is given. An empty name is taken from the directory's.
func New(dir, name string) (Cluster, error) {
	if name == "" {
		name = filepath.Base(dir)
	}
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return Cluster{}, fmt.Errorf("BRIDGE_CLUSTER_DIR: %q is not a clean absolute path", dir)
	}
	if !validName.MatchString(name) {
		return Cluster{}, fmt.Errorf("BRIDGE_CLUSTER_NAME: %q is not made of a-z, 0-9 and - alone", name)
	}
	return Cluster{dir, name}, nil
}

// FromEnv is the cluster that the environment means.
func FromEnv() (Cluster, error) {
	dir := os.Getenv("BRIDGE_CLUSTER_DIR")
	if dir == "" {
		dir = "/var/lib/bridge-test-cluster"
	}
	return New(dir, os.Getenv("BRIDGE_CLUSTER_NAME"))
}

// Path is a path below Dir.
func (c Cluster) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// ProxySync reads kube-proxy's minSyncPeriod, such as "1s".
func ProxySync(s string) (time.Duration, error) {
	if s == "" {
		return DefaultProxySync, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, err
	}
	if d < time.Millisecond || d > 30*time.Second { // kube-proxy's syncPeriod is 30 s
		return 0, fmt.Errorf("%s is not between 1ms and 30s", s)
	}
	return d, nil
}
