#!/usr/bin/env bash
# `make verify`: every suite with its full count (SELKIE_FULL=1), one after the other.
#
# A suite that passed is not run again for the same sources, so an interrupted run goes on where it stopped. The summary,
# docs/verification/DATE.md, is to be committed; it is written when the last suite has passed.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${SELKIE_CACHE:?set by the Makefile}
began=$SECONDS

# The sources as they are, committed or not; what this script writes does not count.
sources=$(git ls-files --cached --others --exclude-standard -- . ':!docs/verification' | sort | { xargs -d '\n' sha256sum 2> /dev/null || true; } | sha256sum | cut -c1-16)
state=$cache/verify/$sources
mkdir -p "$state"

# One line for each test program of the workspace: name, program, folder of its package. The build is that of `make test`.
programs=$state/programs
if ! cargo test --locked --workspace --no-run --message-format=json-render-diagnostics 2> /dev/null | python3 -c '
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        folder = os.path.dirname(message["manifest_path"])
        target = message["target"]
        kind = "" if target["kind"] == ["test"] else target["kind"][0] + "-"
        print(os.path.relpath(folder).replace("/", "-") + "-" + kind + target["name"], message["executable"], folder)
' | sort > "$programs"; then
	echo "verify: the test programs do not build; see cargo test --workspace --no-run" >&2
	exit 1
fi
suites=$(cut -d' ' -f1 "$programs")" documentation"

run() { # SUITE
	if [ "$1" = documentation ]; then
		cargo test --locked --workspace --doc
		return
	fi
	local program folder
	read -r _ program folder < <(grep "^$1 " "$programs")
	(cd "$folder" && CARGO_MANIFEST_DIR=$folder "$program" --nocapture)
}

failed=()
for suite in $suites; do
	result=$state/$suite
	if [ -e "$result.passed" ]; then
		echo "$suite: passed before"
		continue
	fi
	start=$SECONDS
	echo "$suite: running"
	if SELKIE_FULL=1 run "$suite" > "$result.log" 2>&1; then
		echo $((SECONDS - start)) > "$result.passed"
		echo "$suite: passed in $((SECONDS - start)) s"
	else
		failed+=("$suite")
		echo "$suite: FAILED, see $result.log"
	fi
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "verify: failed: ${failed[*]}; the others will not be run again for these sources" >&2
	exit 1
fi

bench=$state/bench
if [ ! -e "$bench.passed" ]; then
	echo "bench: running"
	env -u SELKIE_BIN_DIR make --no-print-directory bench BENCH_FLAGS=--report-only > "$bench.log" 2>&1 || {
		echo "verify: make bench failed, see $bench.log" >&2
		exit 1
	}
	touch "$bench.passed"
fi

# A loaded machine is no defect, so a missed target does not end the run; it is told at the top and at the end.
missed=$(grep '^MISSED: ' "$bench.log" || true)

summary=docs/verification/$(date -u +%F).md
mkdir -p docs/verification
{
	echo "# Verification of $(date -u +%F)"
	echo
	echo "\`make verify\` at commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- . ':!docs/verification' || echo ', with changes that were not committed'), sources $sources."
	echo
	if [ -n "$missed" ]; then
		echo "**Targets of \`make bench\` were missed:**"
		echo
		sed 's/^/- /' <<< "$missed"
		echo
	fi
	echo "- Machine: $(nproc) cores, $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(uname -sr)"
	echo "- $(rustc --version); $(go version | cut -d' ' -f3); $(python3 --version)"
	echo
	echo "| suite | passed | seconds |"
	echo "| --- | --- | --- |"
	for suite in $suites; do
		result=$state/$suite
		# The documentation tests of the workspace are many programs.
		passed=$(awk '/^test result: ok\./ { sum += $4 } END { print sum + 0 }' "$result.log")
		echo "| $suite | $passed | $(cat "$result.passed") |"
	done
	echo
	echo "## Counts that the suites report"
	echo
	grep -h -o 'verified: .*' "$state"/*.log | sed 's/^verified: /- /' | sort -u || echo "None."
	echo
	echo "## make bench"
	echo
	echo '```'
	cat "$bench.log"
	echo '```'
} > "$summary"
if [ -n "$missed" ]; then
	echo "verify: TARGETS OF make bench WERE MISSED:" >&2
	echo "$missed" >&2
fi
echo "verify: all suites passed in $((SECONDS - began)) s; the summary is $summary, to be committed"
