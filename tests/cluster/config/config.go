// Package config writes what the node's programs read: certificates, kubeconfigs, and
// the configuration files under files/, which are templates over the plan.
package config

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"bridge/tests/cluster/pki"
	"bridge/tests/cluster/plan"
)

//go:embed files
var files embed.FS

// Write fills pki/ and etc/ of the cluster's directory, and writes the kubeconfigs of
// the admin and the developer.
func Write(c plan.Cluster, proxySync time.Duration) error {
	for _, d := range []string{"etc/cni", "pki"} {
		if err := os.MkdirAll(c.Path(d), 0o755); err != nil {
			return err
		}
	}
	keys := pki.Dir(c.Path("pki"))
	for _, cert := range certificates {
		if err := keys.Issue(cert); err != nil {
			return fmt.Errorf("certificate %s: %w", cert.Name, err)
		}
	}
	for file, u := range kubeconfigs {
		u.Server, u.Context = plan.APIURL, plan.Context
		b, err := keys.Kubeconfig(u)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(c.Path(file), b, 0o600); err != nil {
			return err
		}
	}
	entries, err := files.ReadDir("files")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := render(c, e.Name(), proxySync); err != nil {
			return err
		}
	}
	return nil
}

// WriteProxy rewrites kube-proxy's file.
func WriteProxy(c plan.Cluster, proxySync time.Duration) error {
	return render(c, "kube-proxy.yaml", proxySync)
}

var certificates = []pki.Certificate{
	{Name: "ca", User: "cluster-ca"},
	{Name: "front-ca", User: "cluster-front-ca"}, // the API server wants another one than ca for the aggregation layer
	{Name: "front", Signer: "front-ca", User: "front-proxy-client"},
	{Name: "sa", User: "service-accounts"}, // only its key pair is used
	{Name: "apiserver", Signer: "ca", User: "kube-apiserver", Hosts: []string{plan.NodeIP, plan.APIIP, "127.0.0.1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
	{Name: "apiserver-kubelet", Signer: "ca", User: "kube-apiserver-kubelet-client", Group: "system:masters"},
	{Name: "kubelet", Signer: "ca", User: "system:node:" + plan.NodeName, Group: "system:nodes",
		Hosts: []string{plan.NodeName, plan.NodeIP}},
}

var kubeconfigs = map[string]pki.User{
	"admin.kubeconfig":                       {Name: "admin", Group: "system:masters", Namespace: plan.Namespace},
	"developer.kubeconfig":                   {Name: plan.Developer, Namespace: plan.Namespace},
	"etc/kubelet.kubeconfig":                 {Name: "system:node:" + plan.NodeName, Group: "system:nodes"},
	"etc/kube-controller-manager.kubeconfig": {Name: "system:kube-controller-manager"},
	"etc/kube-scheduler.kubeconfig":          {Name: "system:kube-scheduler"},
	"etc/kube-proxy.kubeconfig":              {Name: "system:kube-proxy"},
	"etc/netpol.kubeconfig":                  {Name: "netpol", Group: "system:masters"},
}

// render writes one of files/. It replaces the file in one step: its reader may be
// starting just now.
func render(c plan.Cluster, name string, proxySync time.Duration) error {
	t, err := template.New(name).Option("missingkey=error").ParseFS(files, "files/"+name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]string{
		"Inside": plan.Inside, "Cgroup": c.Name,
		"NodeIP": plan.NodeIP, "NodeName": plan.NodeName, "LaptopIP": plan.LaptopIP, "DNSIP": plan.DNSIP,
		"PodCIDR": plan.PodCIDR, "ClusterNet": plan.ClusterNet, "ServiceNet": plan.ServiceNet,
		"Namespace": plan.Namespace, "Developer": plan.Developer, "PauseImage": plan.PauseImage, "CoreDNSImage": plan.CoreDNSImage,
		"ProxySync": proxySync.String(),
	}); err != nil {
		return err
	}
	to := c.Path("etc", name)
	if filepath.Ext(name) == ".conflist" {
		to = c.Path("etc/cni", name) // the CNI reads a whole directory
	}
	if err := os.WriteFile(to+".new", b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
