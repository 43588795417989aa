# A developer without privileges on the laptop of the test cluster, with a home below $work and the rights of the Role.
# Whoever sources this has set uid, work and namespace, and kubectl in that namespace.
# shellcheck shell=bash

write_kubeconfig() {
	local token config=$work/kubeconfig
	token=$(kubectl create token developer --duration=2h)
	kubectl config view --raw --minify --flatten >"$config"
	kubectl --kubeconfig "$config" config set-credentials developer --token="$token"
	kubectl --kubeconfig "$config" config set-context --current --user=developer --namespace="$namespace"
	chown "$uid" "$config"
}

# ours prints the processes of the developer's home, and of nobody else.
ours() {
	local process
	for process in $(grep -lsa "HOME=$work/home" /proc/[0-9]*/environ); do
		process=${process#/proc/}
		echo "${process%/environ}"
	done
}

# On SIGTERM, the daemon gives back what it holds.
end_ours() {
	local process tries
	for process in $(ours); do kill "$process" 2>/dev/null || true; done
	for ((tries = 0; tries < 100; tries++)); do
		[[ -n $(ours) ]] || break
		sleep 0.1
	done
	for process in $(ours); do kill -KILL "$process" 2>/dev/null || true; done
}
