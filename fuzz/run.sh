#!/bin/sh
# Builds the fuzz targets and runs each for a time: fuzz/run.sh SECONDS [TARGET...]
#
# The coverage flags are those of cargo-fuzz; a stable compiler takes them, so that nothing but
# cargo is needed. FUZZ_FEATURES="age sealed template" adds the targets of those names, which take minutes to
# build. What a run finds stays in fuzz/artifacts; what it learned, in fuzz/corpus.
set -eu
cd "$(dirname "$0")"
seconds=$1
shift
host=$(rustc --version --verbose | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}/fuzz
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
CARGO_TARGET_DIR=$target RUSTFLAGS=$flags cargo build --locked --release --quiet --target "$host" --features "${FUZZ_FEATURES:-}"
# shellcheck disable=SC2046 # names without blanks
[ $# -gt 0 ] || set -- yaml json dotenv ini round_trip metadata rules ${FUZZ_FEATURES:-}
for writer in round_trip age; do
    [ ! -x "$target/$host/release/$writer" ] || SELKIE_FUZZ_SEEDS=seeds "$target/$host/release/$writer"
done
status=0
for name in "$@"; do
    mkdir -p "corpus/$name" "artifacts/$name"
    log=$target/$name.log
    if "$target/$host/release/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=4096 -artifact_prefix="artifacts/$name/" -print_final_stats=1 \
        "corpus/$name" "seeds/$name" > "$log" 2>&1; then
        executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "$name: nothing found in $executions executions"
    else
        echo "$name: see $log"
        grep -m 1 -A 3 'panicked at' "$log" | cut -c 1-600 || tail -5 "$log"
        status=1
    fi
done
exit $status
