#!/usr/bin/env bash
# `make check`: what must hold before a change is read: format, lints, documentation, generated references.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tests/scripts/setup.sh build

say "Format"
cargo fmt --all --check

say "Lints"
cargo clippy --release --workspace --all-targets --features sluice-tests/bench --locked -- -D warnings

say "Documentation of our own crates"
RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --release --workspace --no-deps --locked --document-private-items --quiet

say "docs/config.md is what the binary prints"
cargo build --release --locked --bin sluice
if ! diff -u docs/config.md <("$BIN/sluice" docs config); then
  die "docs/config.md is out of date: $BIN/sluice docs config > docs/config.md"
fi

say "Import rules"
cargo test --release --locked -p sluice-tests --test architecture

say "Shell scripts parse"
for script in tests/scripts/*.sh .ci/run docker/*.sh; do
  [ -e "$script" ] || continue
  bash -n "$script"
done
say "All checks passed"
