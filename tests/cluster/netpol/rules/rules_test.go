package rules

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(namespace, app, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		}}},
		Status: corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning},
	}
}

func apps(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func ptr[T any](v T) *T { return &v }

func world(policies ...*netv1.NetworkPolicy) World {
	for _, p := range policies {
		p.Namespace = "shop"
	}
	return World{
		Pods: []*corev1.Pod{pod("shop", "orders", "10.0.0.1"), pod("shop", "web", "10.0.0.2"), pod("ops", "probe", "10.0.0.3"),
			pod("shop", "pending", "")},
		Namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"name": "shop"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "ops", Labels: map[string]string{"name": "ops"}}},
		},
		Policies: policies,
	}
}

func ingress(rules ...netv1.NetworkPolicyIngressRule) *netv1.NetworkPolicy {
	return &netv1.NetworkPolicy{Spec: netv1.NetworkPolicySpec{PodSelector: *apps("orders"),
		PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress}, Ingress: rules}}
}

func egress(rules ...netv1.NetworkPolicyEgressRule) *netv1.NetworkPolicy {
	return &netv1.NetworkPolicy{Spec: netv1.NetworkPolicySpec{PodSelector: *apps("orders"),
		PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress}, Egress: rules}}
}

func TestTable(t *testing.T) {
	from := func(peers ...netv1.NetworkPolicyPeer) []netv1.NetworkPolicyPeer { return peers }
	port := func(p netv1.NetworkPolicyPort) []netv1.NetworkPolicyPort { return []netv1.NetworkPolicyPort{p} }
	for _, c := range []struct {
		given string
		world World
		want  string // the chains and jumps, without what every table has
	}{
		{"no policy", world(), ""},
		{"default deny", world(ingress()), `
			chain in_10_0_0_1 {
			ip saddr 10.0.0.1 return
			counter drop
			}
			ip daddr vmap { 10.0.0.1 : jump in_10_0_0_1 }`},
		{"anyone", world(ingress(netv1.NetworkPolicyIngressRule{})), `
			chain in_10_0_0_1 {
			ip saddr 10.0.0.1 return
			return
			counter drop
			}
			ip daddr vmap { 10.0.0.1 : jump in_10_0_0_1 }`},
		{"a label of its own namespace, a named port", world(ingress(netv1.NetworkPolicyIngressRule{
			From:  from(netv1.NetworkPolicyPeer{PodSelector: apps("web")}, netv1.NetworkPolicyPeer{PodSelector: apps("probe")}),
			Ports: port(netv1.NetworkPolicyPort{Port: ptr(intstr.FromString("web"))}),
		})), `
			chain in_10_0_0_1 {
			ip saddr 10.0.0.1 return
			ip saddr 10.0.0.2 tcp dport 8080 return
			counter drop
			}
			ip daddr vmap { 10.0.0.1 : jump in_10_0_0_1 }`},
		{"another namespace, a range of ports", world(ingress(netv1.NetworkPolicyIngressRule{
			From: from(netv1.NetworkPolicyPeer{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "ops"}}}),
			Ports: port(netv1.NetworkPolicyPort{Port: ptr(intstr.FromInt32(80)), EndPort: ptr(int32(90))}),
		})), `
			chain in_10_0_0_1 {
			ip saddr 10.0.0.1 return
			ip saddr 10.0.0.3 tcp dport 80-90 return
			counter drop
			}
			ip daddr vmap { 10.0.0.1 : jump in_10_0_0_1 }`},
		{"egress to a block, UDP", world(egress(netv1.NetworkPolicyEgressRule{
			To: from(netv1.NetworkPolicyPeer{IPBlock: &netv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}},
				netv1.NetworkPolicyPeer{IPBlock: &netv1.IPBlock{CIDR: "fd00::/8"}}),
			Ports: port(netv1.NetworkPolicyPort{Protocol: ptr(corev1.ProtocolUDP)}),
		})), `
			chain out_10_0_0_1 {
			ip daddr 10.0.0.1 return
			ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 meta l4proto udp return
			counter drop
			}
			ip saddr vmap { 10.0.0.1 : jump out_10_0_0_1 }`},
	} {
		var got []string
		for _, line := range strings.Split(c.world.Table(), "\n") {
			got = append(got, strings.TrimSpace(line))
		}
		want := "add table ip netpol delete table ip netpol table ip netpol { "
		chains, jumps := strings.Join(strings.Fields(c.want), " "), ""
		if i := strings.LastIndex(chains, "} ip "); i >= 0 {
			chains, jumps = chains[:i+2], chains[i+2:]+" "
		}
		want += chains + "chain forward { type filter hook forward priority 0; policy accept; ct state established,related accept " + jumps + "} }"
		if g := strings.Join(strings.Fields(strings.Join(got, " ")), " "); g != want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.given, g, want)
		}
	}
}

func TestTheOrderOfObjectsDoesNotMatter(t *testing.T) {
	a, b := ingress(), egress()
	a.UID, b.UID = "a", "b"
	w := world(a, b)
	before := w.Table()
	w.Pods[0], w.Pods[2] = w.Pods[2], w.Pods[0]
	w.Policies[0], w.Policies[1] = w.Policies[1], w.Policies[0]
	if after := w.Table(); after != before {
		t.Errorf("%s\n%s", before, after)
	}
}
