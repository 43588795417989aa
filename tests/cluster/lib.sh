# What the scripts share: where things are, what must be installed, and the build.
# shellcheck shell=bash

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
state=${BRIDGE_CLUSTER_DIR:-/var/lib/bridge-test-cluster}

# cluster COMMAND ARG... goes on as the running cluster's own program.
cluster() {
	if [[ ! -x $state/bin/cluster ]]; then
		echo "$1: the cluster is down: start it with $here/up" >&2
		exit 1
	fi
	exec "$state/bin/cluster" "$@"
}

# absent reads lines of PROGRAM PACKAGE, and prints those whose program is not there.
absent() {
	local program package
	while read -r program package; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || echo "$program $package"
	done
}

# missing prints PROGRAM PACKAGE of what is needed and not there.
missing() {
	absent <<-END
		containerd containerd
		ctr containerd
		containerd-shim-runc-v2 containerd
		runc runc
		/usr/lib/cni/ptp containernetworking-plugins
		/usr/lib/cni/host-local containernetworking-plugins
		/usr/lib/cni/loopback containernetworking-plugins
		nft nftables
		ip iproute2
		nsenter util-linux
		conntrack conntrack
	END
}

# install_missing names what is missing, and installs it where we may.
install_missing() {
	local list programs packages
	list=$(missing)
	[[ -n $list ]] || return 0
	programs=$(cut -d' ' -f1 <<<"$list" | paste -sd' ')
	packages=$(cut -d' ' -f2 <<<"$list" | sort -u | paste -sd' ')
	local install="apt-get install -y --no-install-recommends --no-remove $packages"
	echo "missing: $programs"
	if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		echo "${0##*/}: install them first (Debian: as root, $install)" >&2
		return 1
	fi
	echo "installing: $packages"
	export DEBIAN_FRONTEND=noninteractive
	compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt-get update -qq
	# The lists may be there and name versions that the archive no longer has.
	$install -qq >/dev/null || { apt-get update -qq && $install -qq >/dev/null; }
	list=$(missing)
	[[ -z $list ]] || { echo "${0##*/}: still missing: $list" >&2 && return 1; }
}

# go_build OUT LDFLAGS PACKAGE... shows how far it is. The flags are part of the build
# cache's key: with any others, all of Kubernetes is compiled again.
go_build() {
	local out=$1 ldflags=$2
	shift 2
	if ! command -v go >/dev/null; then
		echo "Go 1.26 or newer is needed (https://go.dev/dl), to build Kubernetes from source" >&2
		return 1
	fi
	mkdir -p "$out"
	(
		flock 9 # two builds at a time would do everything twice
		cd "$here"
		CGO_ENABLED=0 go build -v -trimpath -buildvcs=false -ldflags "$ldflags" -o "$out/" "$@" 2>&1 | progress
	) 9>"$out/.lock"
}

# progress counts the packages that go prints, and passes on everything else.
progress() {
	local line count=0 shown=$SECONDS end=$'\n' step=30
	[[ ! -t 1 ]] || { end=$'\r' && step=0; }
	while IFS= read -r line; do
		if [[ $line == 'go: downloading '* || $line =~ ^[a-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)*$ ]]; then
			count=$((count + 1))
			if ((SECONDS - shown > step)); then
				shown=$SECONDS
				printf '  %d of about 3000 steps%s' "$count" "$end"
			fi
		else
			printf '%s\n' "$line" >&2
		fi
	done
	((count < 100)) || echo "  built"
}

# build makes everything that `up` needs.
build() {
	local version minor
	version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ {print $2}' "$here/go.mod")
	minor=${version#v1.} minor=${minor%%.*}
	[[ -x $here/bin/kubernetes ]] || echo "building Kubernetes $version from source, about six minutes the first time"
	local v=k8s.io/component-base/version
	go_build "$here/bin" "-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$version" ./cmd/...
}
