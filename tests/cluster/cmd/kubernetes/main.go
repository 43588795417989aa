// Command kubernetes is every Kubernetes daemon in one binary, linked in as libraries
// and chosen by the name it is called by: run as kube-apiserver, it is exactly
// upstream's kube-apiserver. Each runs as a process of its own: as goroutines of one
// they would share feature gates, flags and metrics.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJob time zones

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"bridge/tests/cluster/netpol"
)

var daemons = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": kcm.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              kubeproxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	name := filepath.Base(os.Args[0])
	var err error
	switch {
	case daemons[name] != nil:
		os.Exit(cli.Run(daemons[name]()))
	case name == "etcd" && len(os.Args) == 2:
		err = etcd(os.Args[1])
	case name == "netpol" && len(os.Args) == 2:
		err = netpol.Run(os.Args[1])
	default:
		err = fmt.Errorf("call it as kubelet, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, `etcd DIR` or `netpol KUBECONFIG`")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
