package nodeinit

import (
	"net"
	"os"
	"strings"
	"time"

	"bridge/tests/cluster/plan"
)

// network waits for the end of the pair that leads to the laptop, and configures it.
// There is no default route: pods reach each other, services, the node and the laptop,
// and every other address is unreachable at once.
func network() error {
	if err := wait("eth0", 30*time.Second, func() error { _, err := net.InterfaceByName("eth0"); return err }); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	for _, c := range []string{
		"ip link set lo up",
		"ip addr add " + plan.NodeIP + "/24 dev eth0",
		"ip link set eth0 up",
		// The route is looked up before kube-proxy's rules rewrite the address.
		"ip route add " + plan.ServiceNet + " via " + plan.LaptopIP,
		"nft add table ip node",
		"nft add chain ip node post { type nat hook postrouting priority 110 ; }",
		"nft add rule ip node post oifname eth0 ip saddr " + plan.ClusterNet + " masquerade",
	} {
		a := strings.Fields(c)
		if err := command("network", a[0], a[1:]...); err != nil {
			return err
		}
	}
	return nil
}

func dial(network, addr string) error {
	c, err := net.Dial(network, addr)
	if err == nil {
		c.Close()
	}
	return err
}
