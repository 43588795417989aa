# Many kinds of clients: each asks a Service by its short, its qualified and its full name, and must get what a pod of
# that Service says, or the Service's address.
# shellcheck shell=bash

declare -A service=([http]=web:80 [dns]=web:80 [udp]=echo:7 [grpc]=prices:50051 [sql]=postgres:5432)
declare -A expected=(
	[http]='web web-[a-z0-9]+-[a-z0-9]+'
	[udp]='echo-[a-z0-9]+-[a-z0-9]+ hello'
	[grpc]='prices-[a-z0-9]+-[a-z0-9]+'
	[sql]='postgres-[a-z0-9]+-[a-z0-9]+'
)
clients=() asking=()

matrix() {
	local at_a_time=4
	expected[dns]=$(kubectl get service web -o jsonpath='{.spec.clusterIP}')
	mkdir "$work/matrix"
	run_clients
	while ((${#asking[@]} > 0)); do next; done
	((${#clients[@]} > 0)) || return 0
	table
	none_passed "over these clients"
}

run_clients() {
	local classes=$made/java:$made/java/lib/*
	local py=(env PYTHONPATH="$made/python" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/python/client.py")

	client 'curl' http "$here/shell/curl"
	client 'C, glibc' http "$made/c-glibc" http
	client 'C, glibc, sixteen threads' http "$made/c-glibc" threads
	client 'C, glibc, sendmmsg' udp "$made/c-glibc" mmsg
	client 'C, static musl' http "$made/c-musl" http
	client 'C, static musl, UDP' udp "$made/c-musl" udp
	client 'C, double fork' http "$made/c-musl" daemon
	client 'Go, HTTP' http "$made/go" http
	client 'Go, connected UDP' udp "$made/go" udp
	client 'Go, unconnected UDP' udp "$made/go" udp-unconnected
	client 'Go, gRPC' grpc "$made/go" grpc
	client 'Rust, tokio' http "$made/rust/debug/client" tokio
	client 'Rust, reqwest' http "$made/rust/debug/client" reqwest
	client 'Rust, hickory' dns "$made/rust/debug/client" hickory
	client 'Node, fetch' http node "$here/node/client.mjs" fetch
	client 'Node, http' http node "$here/node/client.mjs" http
	client 'Node, c-ares' dns node "$here/node/client.mjs" c-ares
	client 'Node, dgram' udp node "$here/node/client.mjs" dgram
	client 'Python, requests' http "${py[@]}" requests
	client 'Python, aiohttp' http "${py[@]}" aiohttp
	client 'Python, dnspython' dns "${py[@]}" dnspython
	client 'Python, dnspython by TCP' dns "${py[@]}" dnspython-tcp
	client 'Python, gRPC with c-ares' grpc "${py[@]}" grpcio-ares
	client 'Python, gRPC with libc' grpc "${py[@]}" grpcio-native
	client 'Java, HttpClient' http java -cp "$classes" Client http
	client 'Java, Netty NIO' http java -cp "$classes" Client netty-nio
	client 'Java, Netty NIO, its DNS' http java -cp "$classes" Client netty-nio-dns
	client 'Java, Netty epoll' http java -cp "$classes" Client netty-epoll
	client 'Java, Netty epoll, its DNS' http java -cp "$classes" Client netty-epoll-dns
	client 'psql' sql "$here/shell/psql"
	client 'sh, a tree' http "$here/shell/tree"
	client 'make' http "$here/shell/make"
	client 'npm' http npm --prefix "$here/node" --silent run ask
}

# client NAME KIND COMMAND… runs a client beside a few others.
client() {
	local name=$1 kind=$2 at
	shift 2
	wanted "matrix/$name" || return 0
	while ((${#asking[@]} >= at_a_time)); do next; done
	clients+=("$name")
	local file=$work/matrix/${#clients[@]}
	echo "$kind" >"$file.kind"
	places "$kind" >"$file.places"
	mapfile -t at <"$file.places"
	inside "$@" "${at[@]}" >"$file" 2>"$file.errors" &
	asking+=($!)
}

# next waits until one of the clients has ended.
next() {
	local pid ended left=()
	wait -n -p ended "${asking[@]}" || true
	for pid in "${asking[@]}"; do [[ $pid == "$ended" ]] || left+=("$pid"); done
	asking=("${left[@]}")
}

# places KIND prints the three names of the Service that clients of this kind ask, each with its port.
places() {
	local host=${service[$1]%:*} port=${service[$1]#*:} domain
	for domain in '' ".$namespace" ".$namespace.svc.cluster.local"; do
		echo "$host$domain:$port"
	done
}

table() {
	local i at file kind answer cells all=0 passed=0 wrongs=()
	printf '%-30s %-8s %-10s %-6s\n' client short qualified full
	for i in "${!clients[@]}"; do
		file=$work/matrix/$((i + 1)) cells=()
		kind=$(<"$file.kind")
		while read -r at; do
			all=$((all + 1))
			answer=$(grep -m1 "^$at " "$file" || true)
			if [[ ${answer#"$at "} =~ ^${expected[$kind]}$ ]]; then
				passed=$((passed + 1))
				cells+=(pass)
			else
				cells+=(WRONG)
				wrongs+=("${clients[i]}: ${answer:-$at nothing; $(tail -n 3 "$file.errors" | paste -sd' ')}")
			fi
		done <"$file.places"
		printf '%-30s %-8s %-10s %-6s\n' "${clients[i]}" "${cells[@]}"
	done
	echo "$passed of $all pass: ${#clients[@]} clients"
	((${#wrongs[@]} == 0)) || printf '  %s\n' "${wrongs[@]}"
	((passed == all)) || wrong=$((wrong + 1))
}
