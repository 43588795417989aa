# The Node.js that runs code-server, by npm's name for this machine.
# shellcheck shell=bash
case $(uname -m) in
x86_64) node_arch=x64 ;;
aarch64) node_arch=arm64 ;;
*)
	echo "vscode: there is no Node.js from npm for $(uname -m)" >&2
	exit 1
	;;
esac
