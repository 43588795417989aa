# Packets to the cluster's addresses that leave the laptop by any way but the tunnel. The laptop's network has no way to
# pods and Services; while this counts, the developer has one, as by the default route of a real laptop: packets that
# take it are counted, and dropped.
# shellcheck shell=bash

table=$uid
deliberate=0

as_root() { tests/cluster/laptop "$@"; }

begin_counting() {
	local services pods
	services=$(kubectl get servicecidr kubernetes -o jsonpath='{.spec.cidrs[0]}')
	pods=$(kubectl get nodes -o jsonpath='{.items[0].spec.podCIDR}')
	dns=$(kubectl get service kube-dns --namespace kube-system -o jsonpath='{.spec.clusterIP}')
	end_counting
	as_root sh -ec "
		ip route add $services via 10.77.0.2 table $table
		ip route add $pods via 10.77.0.2 table $table
		ip rule add uidrange $uid-$uid lookup $table
		nft -f -" <<-END
			table inet bridge_clients {
				counter passed {}
				chain output {
					type filter hook output priority filter
					meta skuid $uid ip daddr { $services, $pods } counter name passed drop
				}
			}
		END
	it_counts "${services%/*}" "${pods%/*}" "$dns"
}

end_counting() {
	as_root sh -c "
		ip rule delete uidrange $uid-$uid lookup $table
		ip route flush table $table
		nft delete table inet bridge_clients" >/dev/null 2>&1 || true
}

# passed prints how many packets have been counted, without those that were sent to be counted.
passed() {
	local all
	all=$(as_root nft list counter inet bridge_clients passed | sed -n 's/.*packets \([0-9]*\).*/\1/p')
	echo $((all - deliberate))
}

# it_counts ADDRESS… sends a packet to each, which must be counted.
it_counts() {
	local address before=$(passed) after
	for address; do outside bash -c "echo >/dev/udp/$address/9" 2>/dev/null || true; done
	after=$(passed)
	((after - before == $#)) || fail "$# packets past the tunnel were counted as $((after - before))"
	deliberate=$((deliberate + $#))
}

# none_passed DURING says how many there were so far, which must be none.
none_passed() {
	local packets=$(passed)
	it_counts "$dns"
	echo "packets to pods, Services or the cluster's DNS that have left the laptop past the tunnel, $1: $packets" \
		"(of $deliberate that were sent on purpose, $deliberate were counted)"
	((packets == 0)) || wrong=$((wrong + 1))
}

load() {
	wanted load || return 0
	local count=10000 at_a_time=16 seconds
	inside "$made/go" many "$count" "$at_a_time" web:80 >"$work/load" 2>"$work/load.errors" ||
		fail "the load: $(tail -n 3 "$work/load.errors")"
	seconds=$(sed -n 's/^seconds //p' "$work/load")
	echo "$count connections, $at_a_time at a time, in $seconds s"
	grep -qE "^$count web web-[a-z0-9]+-[a-z0-9]+$" "$work/load" || {
		sed 's/^/  /' "$work/load"
		wrong=$((wrong + 1))
	}
	none_passed "under this load"
}
