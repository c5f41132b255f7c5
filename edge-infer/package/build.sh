#!/usr/bin/env bash
# Builds the Debian package of this machine's architecture into target/debian. Needs cargo-deb
# (cargo install cargo-deb --version ^3). `--no-build` packages the program that target/release holds.
set -euo pipefail
cd "$(dirname "$0")/../.."

[[ "${1:-}" == --no-build ]] || cargo build --release -p edge-infer

# What the program writes of itself.
program=target/release/edge-infer
generated=target/release/package
rm -rf "$generated"
mkdir -p "$generated"
"$program" man --out "$generated/man"
gzip --best --no-name "$generated"/man/*.1
for shell in bash zsh fish; do
    "$program" completions "$shell" > "$generated/edge-infer.$shell"
done

# Debian's form of a change log; the changes themselves are in CHANGELOG.md.
version=$("$program" --version | cut -d' ' -f2)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' edge-infer/Cargo.toml)
date=$(date -R -u ${SOURCE_DATE_EPOCH:+-d "@$SOURCE_DATE_EPOCH"})
printf 'edge-infer (%s-1) unstable; urgency=medium\n\n  * As in the project'"'"'s CHANGELOG.md.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$date" > "$generated/changelog"

cargo deb --no-build --strip -p edge-infer
