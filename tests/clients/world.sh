# Where the clients are: a namespace of their own with what they ask, a developer connected to `orders` there, and how
# commands are run by that developer. Whatever happens, end_world leaves nothing.
# shellcheck shell=bash

# A user of this machine without any privilege.
uid=65503
namespace=bridge-clients-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/bridge-clients.XXXXXX")
take_down=''
developer=(tests/cluster/laptop --uid "$uid" env -u BRIDGE_CONTEXT -u BRIDGE_NAMESPACE -u BRIDGE_HEADER
	-u BRIDGE_FALLBACK -u BRIDGE_REPLICAS -u BRIDGE_AGENT_IMAGE BRIDGE_ME=alice KUBECONFIG="$work/kubeconfig"
	HOME="$work/home" XDG_RUNTIME_DIR="$work/home/run" XDG_CONFIG_HOME="$work/home" XDG_STATE_HOME="$work/home")

kubectl() { tests/cluster/admin kubectl --namespace "$namespace" "$@"; }
# Commands of the developer, none of which takes so long: outside is on the laptop, inside is by bridge run.
outside() { timeout 120 "${developer[@]}" "$@"; }
inside() { timeout 120 "${developer[@]}" "$work/bridge" run orders -- "$@"; }
fail() {
	echo "clients: $*" >&2
	exit 1
}

begin_world() {
	tests/cluster/admin true >/dev/null 2>&1 || take_down=yes
	tests/cluster/up >/dev/null
	tests/cluster/load "$made"/{go,shop,postgres}.tar >/dev/null
	begin_developer
	{
		kubectl create namespace "$namespace"
		kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted
		kubectl apply -f deploy/rbac-developer.yaml -f "$here/objects.yaml"
		sed -s "1s/^/---\n/; s|image: shop:dev|image: bridge-clients/shop:dev|; s|namespace: shop|namespace: $namespace|" \
			deploy/shop/{10-stock,20-prices,30-orders,40-web}.yaml | kubectl apply -f -
		kubectl create serviceaccount developer
		kubectl create rolebinding developer --role=bridge-developer --serviceaccount="$namespace:developer"
		write_kubeconfig
		kubectl rollout status deployment --timeout=120s
	} >"$work/objects.log" 2>&1 || fail "the cluster has not got what it needs: $(tail -n 3 "$work/objects.log")"
	outside "$work/bridge" connect orders >"$work/connect.log" 2>&1 || fail "bridge connect: $(<"$work/connect.log")"
}

begin_developer() {
	mkdir -p "$work/home/run"
	# Where that user can reach it, and as it is now, wherever it is from.
	install -m 755 "$bridge" "$work/bridge"
	chmod 711 "$work"
	chmod 700 "$work/home" "$work/home/run"
	chown -R "$uid" "$work/home"
	outside test -r "$made/go" -a -r "$here/run" || fail "the user $uid cannot read $made and $here"
}

end_world() {
	end_ours
	if [[ -z $take_down ]]; then
		tests/cluster/admin kubectl delete namespace "$namespace" "$namespace-pod" --ignore-not-found --wait=false \
			>/dev/null 2>&1 || true
		kubectl delete pods --all --grace-period=1 --wait=false >/dev/null 2>&1 || true
	else
		tests/cluster/down >/dev/null || true
	fi
	rm -rf "$work"
}
