package nodeinit

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"bridge/tests/cluster/plan"
)

func pki(file string) string        { return plan.Inside + "/pki/" + file }
func etc(file string) string        { return plan.Inside + "/etc/" + file }
func kubeconfig(user string) string { return etc(user + ".kubeconfig") }

// daemons starts the node's programs in the order in which they need each other. The
// images are imported meanwhile.
func daemons() error {
	images := make(chan error, 1)
	supervise("containerd", "containerd", "--config", etc("containerd.toml"))
	go func() { images <- importImages() }()

	supervise("etcd", "etcd", "/var/lib/etcd")
	if err := wait("etcd", time.Minute, func() error { return dial("tcp", "127.0.0.1:2379") }); err != nil {
		return err
	}
	supervise("kube-apiserver", "kube-apiserver", apiserver()...)
	// A controller-manager started earlier caches failures and then waits them out.
	if err := wait("kube-apiserver", 3*time.Minute, readyz); err != nil {
		return err
	}
	supervise("kube-controller-manager", "kube-controller-manager", controllerManager()...)
	supervise("kube-scheduler", "kube-scheduler",
		"--kubeconfig="+kubeconfig("kube-scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1",
		"--authentication-kubeconfig="+kubeconfig("kube-scheduler"), "--authorization-kubeconfig="+kubeconfig("kube-scheduler"))
	supervise("kube-proxy", "kube-proxy", "--config="+etc("kube-proxy.yaml"))
	supervise("netpol", "netpol", kubeconfig("netpol"))
	if err := <-images; err != nil { // before the kubelet, which asks for the sandbox image at once
		return err
	}
	supervise("kubelet", "kubelet", "--config="+etc("kubelet.yaml"), "--kubeconfig="+kubeconfig("kubelet"),
		"--hostname-override="+plan.NodeName, "--node-ip="+plan.NodeIP)
	return nil
}

func apiserver() []string {
	return []string{
		"--advertise-address=" + plan.NodeIP, // where the `kubernetes` Service leads
		"--secure-port=6443",
		"--etcd-servers=http://127.0.0.1:2379",
		"--service-cluster-ip-range=" + plan.ServiceNet,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--client-ca-file=" + pki("ca.crt"),
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP", // the node's name does not resolve
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pki("sa.crt"), "--service-account-signing-key-file=" + pki("sa.key"),
		"--requestheader-client-ca-file=" + pki("front-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki("front.crt"), "--proxy-client-key-file=" + pki("front.key"),
	}
}

func controllerManager() []string {
	self := kubeconfig("kube-controller-manager")
	return []string{
		"--kubeconfig=" + self, "--authentication-kubeconfig=" + self, "--authorization-kubeconfig=" + self,
		"--leader-elect=false", "--bind-address=127.0.0.1",
		// A token per controller at the start: dozens of requests, which the default limits would stretch.
		"--use-service-account-credentials=true", "--kube-api-qps=300", "--kube-api-burst=600",
		"--service-account-private-key-file=" + pki("sa.key"),
		"--root-ca-file=" + pki("ca.crt"), // goes into every namespace
		"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
		"--allocate-node-cidrs=true", "--cluster-cidr=" + plan.ClusterNet, "--service-cluster-ip-range=" + plan.ServiceNet,
	}
}

// readyz asks without a certificate: anonymous may.
func readyz() error {
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	r, err := (&http.Client{Transport: t, Timeout: 5 * time.Second}).Get(plan.APIURL + "/readyz")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %s", r.Status)
	}
	return nil
}
