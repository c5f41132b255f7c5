#!/usr/bin/env bash
# Builds the Debian package into target/debian. Needs cargo-deb (cargo install cargo-deb --version ^3).
#
#   edge-infer/package/build.sh [--no-build] [TARGET]
#
# Without TARGET, of this machine's architecture; with one (aarch64-unknown-linux-gnu) of that one's, for which its
# standard library and linker must be there (README.md, "On 64-bit ARM"). `--no-build` packages the programs that
# target/release and target/TARGET/release hold.
set -euo pipefail
cd "$(dirname "$0")/../.."

build=yes
[[ "${1:-}" != --no-build ]] || { build=no; shift; }
target=${1:+"--target=$1"}
if [[ $build == yes ]]; then
    cargo build --release -p edge-infer
    [[ -z $target ]] || cargo build --release -p edge-infer "$target"
fi

# What the program writes of itself, by the one that runs here.
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

# What target/release stands for is then target/TARGET/release.
if [[ -n $target ]]; then
    rm -rf "target/$1/release/package"
    cp -r "$generated" "target/$1/release/package"
fi
cargo deb --no-build --strip -p edge-infer ${target:+"$target"}
