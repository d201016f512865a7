#!/bin/sh
# Every measurement, quickly, ending with a report: `make bench`. Usage: sh bench/quick.sh FOLDER-WITH-edgedefend [BUNDLE]
# Quick results are for a look and say so themselves (TAINTED: too few samples); the ones to quote take longer and are
# in bench/results. A new measurement is one more line `measure NAME ...` below.
set -eu
run="$1/edgedefend"
out=build/bench
bundle=${2:-build/demo/int8}
mkdir -p "$out"
rm -f "$out"/*.json

measure() {
  name=$1
  shift
  printf '\n== edgedefend bench %s\n' "$*"
  "$run" bench "$@" --json "$out/$name.json"
}

if [ ! -e "$bundle/manifest.json" ]; then
  printf '\n== edgedefend convert: a bundle to measure with (once)\n'
  "$run" convert --model efficientnet-lite0 --data sample --precision int8 --out build/demo --force
fi
"$run" warmup

measure latency-single-stream latency "$bundle" --quick
measure latency-multi-stream latency "$bundle" --quick --scenario multi-stream
measure latency-offline latency "$bundle" --quick --scenario offline
measure throughput throughput "$bundle" --frames 200 --rounds 3
measure kernel kernel --quick
measure draws draws "$bundle" --rounds 10
measure serve serve "$bundle" --rounds 2 --seconds 1
measure startup startup "$bundle" --runs 5
measure memory memory "$bundle" --images 2000
measure accuracy accuracy "$bundle" --data sample
measure gradients gradients efficientnet-lite0 --images 4 --rounds 2
measure soak soak "$bundle" --minutes 0.25 --every 1

printf '\n== edgedefend bench report\n'
"$run" bench report "$out"/*.json --out "$out/report"
