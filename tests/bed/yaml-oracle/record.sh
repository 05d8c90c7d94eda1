#!/bin/sh
# Records what go-yaml v3.0.4 makes of the differential suite of crates/text.
# Needs Go; the version of go-yaml is pinned in go.mod. The files of tests/corpus are inputs: record again after adding one.
set -eu
cd "$(dirname "$0")"
goldens=../../../crates/text/tests/goldens
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/oracle" .
go build -o "$work/collect" ./collect
module=$(go list -m -f '{{.Dir}}' go.yaml.in/yaml/v3)
"$work/collect" "$module" ../../corpus hand-picked.txt > "$work/inputs.json"
"$work/oracle" < "$work/inputs.json" > "$goldens/trees.json"
"$work/collect" -lines scalars.txt > "$work/scalars.json"
"$work/oracle" -scalars < "$work/scalars.json" > "$goldens/scalars.json"
