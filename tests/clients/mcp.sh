# A client of the Model Context Protocol, which has bridge connect, call, wait, explain and disconnect.
# shellcheck shell=bash

mcp() {
	wanted mcp || return 0
	local log=$work/mcp.out
	if PYTHONPATH=$made/python outside /usr/bin/python3 "$here/python/mcp_client.py" "$work/bridge" >"$log" 2>&1; then
		sed 's/^/mcp        pass   /' "$log"
	else
		echo "mcp        WRONG"
		tail -n 20 "$log" | sed 's/^/  /'
		wrong=$((wrong + 1))
	fi
}
