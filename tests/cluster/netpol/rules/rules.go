// Package rules turns the pods, namespaces and network policies of a cluster into one
// nftables table. It is pure: objects in, text out, the same text for the same objects.
//
// Pods are on point-to-point links, so what one sends another is forwarded by the
// node, after kube-proxy has replaced the service's address with a pod's: one chain on
// that hook sees all of it. What the node itself sends (probes, the API server,
// port-forward) is not forwarded, and so always allowed. IPv4 only.
package rules

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// World is what the rules depend on, in any order.
type World struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*netv1.NetworkPolicy
}

// Table is a script for `nft -f` that replaces the table. A pod that a policy isolates
// has a chain per direction, which returns for what is allowed and ends in a drop.
func (w World) Table() string {
	w.Pods = slices.DeleteFunc(slices.Clone(w.Pods), func(p *corev1.Pod) bool { return !onNetwork(p) })
	slices.SortFunc(w.Pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Status.PodIP, b.Status.PodIP) })
	w.Policies = slices.Clone(w.Policies)
	slices.SortFunc(w.Policies, func(a, b *netv1.NetworkPolicy) int { return strings.Compare(string(a.UID), string(b.UID)) })

	var chains strings.Builder
	var in, out []string // elements of the verdict maps
	for _, pod := range w.Pods {
		ip := pod.Status.PodIP
		suffix := strings.ReplaceAll(ip, ".", "_")
		ingress, egress := w.isolation(pod)
		if ingress.isolated {
			in = append(in, ip+" : jump in_"+suffix)
			ingress.chain(&chains, "in_"+suffix, "ip saddr "+ip)
		}
		if egress.isolated {
			out = append(out, ip+" : jump out_"+suffix)
			egress.chain(&chains, "out_"+suffix, "ip daddr "+ip)
		}
	}
	var jumps strings.Builder
	if len(out) > 0 {
		fmt.Fprintf(&jumps, "    ip saddr vmap { %s }\n", strings.Join(out, ", "))
	}
	if len(in) > 0 {
		fmt.Fprintf(&jumps, "    ip daddr vmap { %s }\n", strings.Join(in, ", "))
	}
	return "add table ip netpol\ndelete table ip netpol\ntable ip netpol {\n" + chains.String() +
		"  chain forward {\n    type filter hook forward priority 0; policy accept;\n" +
		"    ct state established,related accept\n" + jumps.String() + "  }\n}\n"
}

func onNetwork(p *corev1.Pod) bool {
	return p.Status.PodIP != "" && !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// direction is what policies say about one direction of one pod's traffic.
type direction struct {
	isolated bool
	allowed  []string // matches
}

// chain writes the direction's chain. What a pod sends to itself is never held up.
func (d direction) chain(b *strings.Builder, name, self string) {
	fmt.Fprintf(b, "  chain %s {\n    %s return\n", name, self)
	for _, match := range d.allowed {
		fmt.Fprintf(b, "    %s\n", strings.TrimSpace(match+" return"))
	}
	b.WriteString("    counter drop\n  }\n")
}

func (w World) isolation(pod *corev1.Pod) (ingress, egress direction) {
	for _, p := range w.Policies {
		if p.Namespace != pod.Namespace || !matches(&p.Spec.PodSelector, pod.Labels) {
			continue
		}
		ingress.isolated = ingress.isolated || slices.Contains(p.Spec.PolicyTypes, netv1.PolicyTypeIngress)
		egress.isolated = egress.isolated || slices.Contains(p.Spec.PolicyTypes, netv1.PolicyTypeEgress)
		for _, r := range p.Spec.Ingress {
			for _, peer := range w.peers("ip saddr", p.Namespace, r.From) {
				for _, port := range ports(r.Ports, pod) {
					ingress.allowed = append(ingress.allowed, peer.match+port)
				}
			}
		}
		for _, r := range p.Spec.Egress {
			for _, peer := range w.peers("ip daddr", p.Namespace, r.To) {
				for _, port := range ports(r.Ports, peer.pod) {
					egress.allowed = append(egress.allowed, peer.match+port)
				}
			}
		}
	}
	return ingress, egress
}

// peer is one alternative of a rule: a match on the address, and the pod if it is one.
type peer struct {
	match string
	pod   *corev1.Pod
}

func (w World) peers(field, namespace string, list []netv1.NetworkPolicyPeer) (all []peer) {
	if len(list) == 0 {
		return []peer{{}}
	}
	for _, p := range list {
		if p.IPBlock != nil {
			if !strings.Contains(p.IPBlock.CIDR, ":") {
				all = append(all, peer{match: block(field, p.IPBlock)})
			}
			continue
		}
		for _, pod := range w.Pods {
			if w.selects(p, namespace, pod) {
				all = append(all, peer{field + " " + pod.Status.PodIP, pod})
			}
		}
	}
	return all
}

func block(field string, b *netv1.IPBlock) string {
	match := field + " " + b.CIDR
	for _, e := range b.Except {
		match += " " + field + " != " + e
	}
	return match
}

func (w World) selects(p netv1.NetworkPolicyPeer, namespace string, pod *corev1.Pod) bool {
	if p.PodSelector != nil && !matches(p.PodSelector, pod.Labels) {
		return false
	}
	if p.NamespaceSelector == nil {
		return pod.Namespace == namespace
	}
	i := slices.IndexFunc(w.Namespaces, func(n *corev1.Namespace) bool { return n.Name == pod.Namespace })
	return i >= 0 && matches(p.NamespaceSelector, w.Namespaces[i].Labels)
}

func matches(s *metav1.LabelSelector, l map[string]string) bool {
	sel, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && sel.Matches(labels.Set(l))
}

// ports are the alternatives of a rule's ports. Target is the pod that has the named
// ones, nil when the rule's peer is not one pod.
func ports(list []netv1.NetworkPolicyPort, target *corev1.Pod) (all []string) {
	if len(list) == 0 {
		return []string{""}
	}
	for _, p := range list {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		l4 := strings.ToLower(string(protocol))
		switch {
		case p.Port == nil:
			all = append(all, " meta l4proto "+l4)
		case p.Port.Type == intstr.Int && p.EndPort != nil:
			all = append(all, fmt.Sprintf(" %s dport %d-%d", l4, p.Port.IntVal, *p.EndPort))
		case p.Port.Type == intstr.Int:
			all = append(all, fmt.Sprintf(" %s dport %d", l4, p.Port.IntVal))
		case target != nil:
			for _, c := range target.Spec.Containers {
				for _, cp := range c.Ports {
					if cp.Name == p.Port.StrVal && cp.Protocol == protocol {
						all = append(all, fmt.Sprintf(" %s dport %d", l4, cp.ContainerPort))
					}
				}
			}
		}
	}
	return all
}
