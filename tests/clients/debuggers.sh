# Debuggers by bridge run; those that listen are reached from outside it, and started by a shim, as editors do.
# shellcheck shell=bash

debuggers() {
	mkdir "$work/debuggers"
	address=$(kubectl get service web -o jsonpath='{.spec.clusterIP}')
	debugger strace "the calls of a child, with the cluster's addresses"
	debugger gdb "stops in connect, and goes on"
	debugger debugpy "as an editor starts it: stops at a line, shows a variable, goes on"
	debugger dlv-dap "the same for Go"
	debugger delve "from outside: stops before the request, and goes on"
	debugger node "from outside: the inspector's list; waits, and goes on"
}

# debugger NAME WHAT runs by_NAME, which prints what has been seen and must find it good.
debugger() {
	wanted "debuggers/$1" || return 0
	local log=$work/debuggers/$1
	if by_"$1" >"$log" 2>&1; then
		printf '%-10s %-6s %s\n' "$1" pass "$2"
	else
		printf '%-10s %-6s %s\n' "$1" WRONG "$2"
		tail -n 20 "$log" | sed 's/^/  /'
		wrong=$((wrong + 1))
	fi
}

answered() { grep -qE '^web:80 web web-' "$1"; }

by_strace() {
	local log=$work/debuggers/strace.out
	inside strace -f -o "$work/home/strace" "$here/shell/curl" web:80 >"$log" || return
	grep 'connect(.*AF_INET' "$work/home/strace"
	cat "$log"
	answered "$log" && grep -q "connect(.*sin_port=htons(80), sin_addr=inet_addr(\"$address\")" "$work/home/strace"
}

by_gdb() {
	local log=$work/debuggers/gdb.out
	inside gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'set breakpoint pending on' -ex 'break connect' -ex run \
		-ex backtrace -ex delete -ex continue --args "$made/c-glibc" http web:80 >"$log" 2>&1 || return
	cat "$log"
	answered "$log" && grep -q '^Breakpoint 1, .*connect' "$log" && grep -q 'exited normally' "$log"
}

by_debugpy() {
	local log=$work/debuggers/debugpy.out
	PYTHONPATH=$made/python PYTHONDONTWRITEBYTECODE=1 outside /usr/bin/python3 "$here/python/dap_client.py" debugpy \
		"$(shim /usr/bin/python3)" "$here/python/client.py" "return requests.get" requests web:80 >"$log" 2>&1 || return
	cat "$log"
	grep -q "^stopped; host is 'web'" "$log" && answered "$log"
}

by_dlv-dap() {
	local log=$work/debuggers/dlv-dap.out port adapter result
	outside "$(shim "$made/dlv")" dap --listen 127.0.0.1:0 >"$log.adapter" 2>&1 &
	adapter=$!
	port=$(seen 's/.*listening at: 127.0.0.1:\([0-9]*\).*/\1/p' "$log.adapter") || return
	outside /usr/bin/python3 "$here/python/dap_client.py" dlv "127.0.0.1:$port" "$made/go" main.askHTTP http web:80 \
		>"$log" 2>&1
	result=$?
	wait "$adapter"
	cat "$log" "$log.adapter"
	((result == 0)) && grep -q '^stopped; at is "web:80"' "$log" && cat "$log" "$log.adapter" | grep -qE '^web:80 web web-'
}

by_delve() {
	local log=$work/debuggers/delve.out port
	printf '%s\n' 'break main.askHTTP' continue args 'clear 1' continue exit >"$work/home/delve"
	outside "$(shim "$made/dlv")" exec --headless --listen 127.0.0.1:0 "$made/go" -- http web:80 >"$log" 2>&1 &
	port=$(seen 's/.*listening at: 127.0.0.1:\([0-9]*\).*/\1/p' "$log") || return
	outside "$made/dlv" connect "127.0.0.1:$port" --init "$work/home/delve" </dev/null 2>&1 | tee "$log.outside"
	wait $!
	cat "$log"
	answered "$log" && grep -q '> .*main.askHTTP' "$log.outside" && grep -q 'at = "web:80"' "$log.outside"
}

by_node() {
	local log=$work/debuggers/node.out port program
	outside "$(shim node)" --inspect-brk=127.0.0.1:0 "$here/node/client.mjs" fetch web:80 >"$log" 2>&1 &
	program=$!
	port=$(seen 's/.*listening on ws:..127.0.0.1:\([0-9]*\).*/\1/p' "$log") || return
	outside curl -sS "http://127.0.0.1:$port/json/list" | tee "$log.list"
	mkfifo "$work/debuggers/commands"
	outside node inspect "127.0.0.1:$port" <"$work/debuggers/commands" >"$log.outside" 2>&1 &
	{
		# The program goes on at `cont`, and ends only when its debugger, which has no more input, is gone.
		seen '/Break on start/p' "$log.outside" && echo cont >&3 && seen '/^web:80/p' "$log"
	} 3>"$work/debuggers/commands"
	wait "$program"
	cat "$log.outside" "$log"
	answered "$log" && grep -q webSocketDebuggerUrl "$log.list"
}

# shim PROGRAM prints the path of its shim.
shim() { outside "$work/bridge" shim orders --file "$work/home/shims/${1##*/}" -- "$1"; }

# seen SED FILE waits until a program has written what SED prints something of.
seen() {
	local tries found
	for ((tries = 0; tries < 300; tries++)); do
		found=$(sed -n "$1" "$2" 2>/dev/null)
		[[ -z $found ]] || { echo "$found" && return; }
		sleep 0.1
	done
	return 1
}
