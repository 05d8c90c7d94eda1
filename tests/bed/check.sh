#!/usr/bin/env bash
# Checks that the programs which the Makefile cannot bring are there; names all that is missing in one message.
set -euo pipefail

missing=()
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]; }

[ "$(uname -s)" = Linux ] || missing+=("Linux: this is $(uname -s); the test bed starts Linux servers")
if ! command -v cargo > /dev/null; then
	missing+=("cargo (Rust 1.95 or newer): https://rustup.rs")
elif version=$(rustc --version | cut -d' ' -f2) && ! at_least 1.95.0 "$version"; then
	missing+=("Rust 1.95 or newer (found $version): rustup update stable")
fi
if ! command -v go > /dev/null; then
	missing+=("go (1.26.4 or newer): https://go.dev/dl")
elif version=$(go env GOVERSION) && ! at_least 1.26.4 "${version#go}"; then
	missing+=("Go 1.26.4 or newer (found ${version#go}): https://go.dev/dl")
fi
if ! command -v python3 > /dev/null; then
	missing+=("python3 (3.11 or newer): apt install python3 python3-venv")
elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	missing+=("Python 3.11 or newer (found $(python3 --version | cut -d' ' -f2)): apt install python3")
elif ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
	missing+=("the venv and ensurepip modules of Python: apt install python3-venv")
fi
command -v cc > /dev/null || missing+=("a C compiler: apt install gcc libc6-dev")
command -v git > /dev/null || missing+=("git: apt install git")
command -v gpg > /dev/null || missing+=("gpg: apt install gnupg")
command -v flock > /dev/null || missing+=("flock: apt install util-linux")
# A test gives the controller the files of a service account, at their fixed path, in a mount namespace of its own.
if ! command -v unshare > /dev/null; then
	missing+=("unshare: apt install util-linux")
else
	as_root=()
	[ "$(id -u)" = 0 ] || as_root=(--user --map-root-user)
	unshare "${as_root[@]}" --mount true 2> /dev/null ||
		missing+=("mount namespaces: 'unshare ${as_root[*]} --mount true' is refused; run as root (in a container with CAP_SYS_ADMIN), or allow user namespaces with sysctl kernel.unprivileged_userns_clone=1 and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0")
fi

if [ ${#missing[@]} -gt 0 ]; then
	echo "Selkie's test bed needs what is not on this machine:" >&2
	printf '  - %s\n' "${missing[@]}" >&2
	exit 1
fi
