# Where the editor is: a namespace with the sample application, a developer without privileges on the laptop's network, and
# code-server there. Whatever happens, end_world leaves nothing.
# shellcheck shell=bash

# A user of this machine without any privilege.
uid=65504
namespace=bridge-ide-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/bridge-ide.XXXXXX")
home=$work/home
take_down=''
node=$made/server/node_modules/node-linux-$node_arch/bin/node
code_server=$made/server/node_modules/code-server/out/node/entry.js
# Chromium and code-server write to the home and to nowhere else.
developer=("$root/tests/cluster/laptop" --uid "$uid" env -i PATH="$home/bin:$PATH" TERM=dumb LANG=C.UTF-8 SHELL=/bin/sh USER=alice
	BRIDGE_ME=alice KUBECONFIG="$work/kubeconfig" HOME="$home" TMPDIR="$home/tmp" XDG_RUNTIME_DIR="$home/run"
	XDG_CONFIG_HOME="$home/config" XDG_STATE_HOME="$home/state" BRIDGE_IDE="$made" BRIDGE_IDE_TEST="${BRIDGE_IDE_TEST:-}")

kubectl() { "$root/tests/cluster/admin" kubectl --namespace "$namespace" "$@"; }
as_developer() { "${developer[@]}" "$@"; }
fail() {
	echo "vscode: $*" >&2
	exit 1
}

begin_world() {
	"$root/tests/cluster/admin" true >/dev/null 2>&1 || take_down=yes
	"$root/tests/cluster/up" >/dev/null
	begin_developer
	{
		"$root/deploy/shop/build"
		"$root/tests/cluster/image-of" -o "$work/shop.tar" -user 10001:10001 -name docker.io/bridge-ide/shop:dev \
			"$root/deploy/shop/bin/shop"
		"$root/tests/cluster/load" "$work/shop.tar"
		kubectl create namespace "$namespace"
		kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted
		kubectl apply -f "$root/deploy/rbac-developer.yaml"
		sed -s "1s/^/---\n/; s|image: shop:dev|image: bridge-ide/shop:dev|; s|namespace: shop|namespace: $namespace|" \
			"$root"/deploy/shop/{10-stock,20-prices,30-orders,40-web}.yaml | kubectl apply -f -
		kubectl create serviceaccount developer
		kubectl create rolebinding developer --role=bridge-developer --serviceaccount="$namespace:developer"
		write_kubeconfig
		kubectl rollout status deployment --timeout=120s
	} >"$work/objects.log" 2>&1 || fail "the cluster has not got what it needs: $(tail -n 3 "$work/objects.log")"
}

begin_developer() {
	mkdir -p "$home"/{tmp,run,config,state,bin}
	install -m 755 "$bridge" "$home/bin/bridge"
	# The extension host has the PATH of the login shell.
	echo "PATH=$home/bin:${node%/*}:$made/bin:/usr/local/bin:/usr/bin:/bin" >"$home/.profile"
	chmod 711 "$work"
	chmod 700 "$home" "$home/run"
	chown -R "$uid" "$home"
	as_developer test -x "$node" -a -r "$code_server" || fail "the user $uid cannot read $made"
}

# Each part of the tests changes it.
begin_project() {
	rm -rf "$home/project"
	cp -r "$here/project" "$home/project"
	chown -R "$uid" "$home/project"
}

end_world() {
	end_ours
	if [[ -z $take_down ]]; then
		"$root/tests/cluster/admin" kubectl delete namespace "$namespace" --ignore-not-found --wait=false >/dev/null 2>&1 || true
		kubectl delete pods --all --grace-period=1 --wait=false >/dev/null 2>&1 || true
	else
		"$root/tests/cluster/down" >/dev/null || true
	fi
	rm -rf "$work"
}
