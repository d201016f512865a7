#!/bin/sh
# The demo: convert EfficientNet-Lite0 with its real ImageNet weights, classify real photographs behind the
# defence, and leave a picture to look at. Usage: sh bench/demo.sh FOLDER-WITH-edgedefend
set -eu
run="$1/edgedefend"
out=build/demo
samples=$("$1/python" -c 'from edgedefend.dataset import load_dataset
for item in load_dataset("sample", ["?"] * 1000).first(4): print(item.path)')

say() { printf '\n== %s\n' "$*"; }

if [ ! -e "$out/int8/manifest.json" ]; then
  say "edgedefend convert: learn the table from adversarial examples, export, compare with Keras (a minute or two)"
  "$run" convert --model efficientnet-lite0 --data sample --out "$out" --force
fi
say "edgedefend verify: whole, and answering as on the desktop?"
"$run" verify "$out/int8"
say "edgedefend classify: four photographs behind the defence, the mean of 5 random draws"
# shellcheck disable=SC2086 # one word a file: none of the sample photographs' names holds a space
"$run" classify --draws 5 --top 3 "$out/int8" $samples
say "edgedefend bench accuracy: what the defence costs on the 20 sample photographs"
"$run" bench accuracy "$out/int8" --data sample
say "edgedefend bench latency: what it costs in time"
"$run" bench latency "$out/int8" --quick
say "edgedefend show: original, quantised, distorted"
# shellcheck disable=SC2086
"$run" show "$out/int8" $samples -o "$out/stages.png"
printf '\nLook at %s/stages.png and at the learned table, %s/quant_table.png.\n' "$out" "$out"
printf 'Try your own: %s serve %s/int8, then open http://127.0.0.1:8765 (camera included).\n' "$run" "$out"
