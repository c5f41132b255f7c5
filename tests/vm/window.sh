#!/usr/bin/env bash
# The kiosk's desktop window on an X server without a screen: what it shows is compared, pixel for pixel, with the
# PNG files of the same events; mouse and keys reach the kiosk; closing the window ends the program.
#
#   apt-get install xvfb libxtst6
#   tests/vm/window.sh [FOLDER]       pictures that differ go into FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in Xvfb python3; do
  command -v $tool > /dev/null || { echo "SKIPPED: no $tool"; exit 0; }
done
TARGET=${CARGO_TARGET_DIR:-target}
PICTURES=${1:-$TARGET/vm/pictures}
mkdir -p "$PICTURES"
cargo build --release -p glaucoma-kiosk --features drm,evdev,fbdev,window --examples
python3 tests/vm/window.py "$TARGET/release/examples/on_display" "$PICTURES"
