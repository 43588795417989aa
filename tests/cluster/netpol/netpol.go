// Package netpol enforces NetworkPolicy with nftables: it watches pods, namespaces and
// policies, and after every change replaces one table, in one transaction. What goes
// into the table is decided by package rules.
package netpol

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"bridge/tests/cluster/netpol/rules"
)

// settle is how long a change waits for more of its kind.
const settle = 50 * time.Millisecond

// Run does not return unless it fails.
func Run(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces, policies := f.Core().V1().Pods(), f.Core().V1().Namespaces(), f.Networking().V1().NetworkPolicies()
	dirty := make(chan struct{}, 1)
	mark := func(any) {
		select {
		case dirty <- struct{}{}:
		default: // marked already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: mark, DeleteFunc: mark, UpdateFunc: func(_, o any) { mark(o) }}
	for _, i := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := i.AddEventHandler(handler); err != nil {
			return err
		}
	}
	f.Start(nil)
	f.WaitForCacheSync(nil)
	for last := ""; ; <-dirty {
		var w rules.World
		if w.Pods, err = pods.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if w.Namespaces, err = namespaces.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if w.Policies, err = policies.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if table := w.Table(); table != last {
			if err := apply(table); err != nil {
				return err
			}
			last = table
		}
		time.Sleep(settle)
	}
}

func apply(table string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(table), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft: %w in:\n%s", err, table)
	}
	return nil
}
