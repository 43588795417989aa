# What programs say when a destination refuses, is silent, is nowhere, or has a name that nobody knows: by bridge run,
# and the same programs in a pod. The text is theirs; what kind of error it is must be the same.
# shellcheck shell=bash

programs=(curl Node Go Python Java)

endings() {
	wanted endings || return 0
	local domain=$namespace.svc.cluster.local program pids=()
	begin_pod
	local refusing
	refusing=$(kubectl get pods -l app=web -o jsonpath='{.items[0].status.podIP}')
	what=("refused by a Service's pods" "refused by a pod" "silent" "no pod's address" "unknown name")
	at=("closed.$domain:80" "$refusing:81" "silent.$domain:80" "$(nobody):80" "nosuch.$domain:80")
	mkdir "$work/endings"
	for program in "${programs[@]}"; do
		ask_by "$program" inside env PATIENCE=15 &
		pids+=($!)
		ask_by "$program" in_pod env PATIENCE=15 &
		pids+=($!)
	done
	wait "${pids[@]}"
	compare
}

# The pod has the machine's own programs, which a restricted namespace would not allow.
begin_pod() {
	local directories=(/usr "$here" "$made") java
	java=$(readlink -f "$(command -v java)")
	java=$(readlink -f "${java%/bin/java}/conf/logging.properties")
	[[ $java == /usr/* ]] || directories+=("${java%/conf/*}" "${java%/*}")
	{
		kubectl create namespace "$namespace-pod"
		pod_yaml "${directories[@]}" | kubectl --namespace "$namespace-pod" apply -f -
		kubectl --namespace "$namespace-pod" wait pod/programs --for=condition=Ready --timeout=60s
	} >"$work/pod.log" 2>&1 || fail "the pod with this machine's programs: $(tail -n 3 "$work/pod.log")"
}

# pod_yaml DIRECTORY… prints a pod that has these directories of the machine.
pod_yaml() {
	cat <<-END
		apiVersion: v1
		kind: Pod
		metadata:
		  name: programs
		spec:
		  automountServiceAccountToken: false
		  terminationGracePeriodSeconds: 0
		  securityContext:
		    runAsUser: 10001
		    runAsGroup: 10001
		  volumes:
		    - {name: tmp, emptyDir: {}}
		    - {name: bin, hostPath: {path: /usr/bin}}
		    - {name: lib, hostPath: {path: /usr/lib}}
		    - {name: lib64, hostPath: {path: /usr/lib64}}
	END
	volumes '- {name: %s, hostPath: {path: %s}}' "$@"
	cat <<-END
		  containers:
		    - name: programs
		      image: bridge-clients/go:dev
		      imagePullPolicy: Never
		      command: [/usr/bin/sleep, infinity]
		      env:
		        - {name: PATH, value: "/usr/bin:/bin"}
		        - {name: HOME, value: /tmp}
		      volumeMounts:
		        - {name: tmp, mountPath: /tmp}
		        - {name: bin, mountPath: /bin, readOnly: true}
		        - {name: lib, mountPath: /lib, readOnly: true}
		        - {name: lib64, mountPath: /lib64, readOnly: true}
	END
	volumes '    - {name: %s, mountPath: %s, readOnly: true}' "$@"
}

volumes() {
	local format=$1 directory number=0
	shift
	for directory; do
		# shellcheck disable=SC2059
		printf "    $format\n" "machine-$((number += 1))" "$directory"
	done
}

in_pod() { kubectl --namespace "$namespace-pod" exec programs -- "$@"; }

# nobody prints an address of the pods' range that no pod has.
nobody() {
	local range last taken
	range=$(kubectl get nodes -o jsonpath='{.items[0].spec.podCIDR}')
	taken=$(kubectl get pods --all-namespaces -o jsonpath='{range .items[*]}{.status.podIP}{"\n"}{end}')
	for ((last = 254; last > 1; last--)); do
		grep -qxF "${range%.*}.$last" <<<"$taken" || break
	done
	echo "${range%.*}.$last"
}

# ask_by PROGRAM WHERE… lets a program ask all places, by inside or in_pod.
ask_by() {
	local program=$1 file=$work/endings/$1.$2 command
	shift
	case $program in
	curl) command=("$here/shell/curl") ;;
	Node) command=("$(command -v node)" "$here/node/client.mjs" fetch) ;;
	Go) command=("$made/go" http) ;;
	Python) command=(env PYTHONPATH="$made/python" /usr/bin/python3 -B "$here/python/client.py" requests) ;;
	Java) command=("$(readlink -f "$(command -v java)")" -cp "$made/java:$made/java/lib/*" Client http) ;;
	esac
	"$@" "${command[@]}" "${at[@]}" >"$file" 2>"$file.errors" || true
}

# kind_of TEXT says in one word what a program has met.
kind_of() {
	case $1 in
	*'timed out'* | *[Tt]imeout* | *'deadline exceeded'* | *ETIMEDOUT*) echo timeout ;;
	*'not resolve'* | *'no such host'* | *ENOTFOUND* | *'not known'* | *UnresolvedAddress*) echo unknown ;;
	*'onnection refused'* | *ECONNREFUSED*) echo refused ;;
	*nreachable* | *EHOSTUNREACH* | *ENETUNREACH* | *'o route to host'*) echo unreachable ;;
	# Java's HttpClient says no more about a connect that fails at once.
	*ConnectException:*ClosedChannelException*) echo refused ;;
	*reset* | *RESET*) echo reset ;;
	'') echo nothing ;;
	*) echo other ;;
	esac
}

compare() {
	local i program inside pod kinds
	printf '%-28s %-8s %-12s %-12s %s\n' destination program 'bridge run' 'in a pod' ''
	for i in "${!at[@]}"; do
		for program in "${programs[@]}"; do
			inside=$(said "$program" inside "${at[i]}") pod=$(said "$program" in_pod "${at[i]}")
			kinds=("$(kind_of "$inside")" "$(kind_of "$pod")" '')
			alike "${kinds[@]}" || {
				kinds[2]=WRONG
				wrong=$((wrong + 1))
			}
			printf '%-28s %-8s %-12s %-12s %s\n' "${what[i]}" "$program" "${kinds[@]}" | sed 's/ *$//'
			printf '    bridge run: %s\n    in a pod:   %s\n' "$inside" "$pod"
		done
	done
}

# alike KIND KIND if both are the same, and known.
alike() {
	case "$1 $2" in
	# A node says that nobody has an address, but not often: then it says nothing.
	'unreachable timeout' | 'timeout unreachable') ;;
	other* | nothing*) return 1 ;;
	*) [[ $1 == "$2" ]] ;;
	esac
}

# said PROGRAM WHERE PLACE prints the words.
said() { sed -n "s/^$3 error: //p" "$work/endings/$1.$2"; }
