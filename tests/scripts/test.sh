#!/usr/bin/env bash
# `make test`: every test of the workspace. Fails when a test fails, and when none ran.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tests/scripts/setup.sh test
export SLUICE_PYTHON=$CACHE/python-test/bin/python

# The black-box suites start the binary that the next line builds; `cargo test` alone would not.
say "Build"
cargo build --release --locked --workspace --bins

say "Test"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --release --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?

# cargo prints one such line per test binary; together they must show that tests ran.
passed=$(sed -n 's/^test result: .* \([0-9][0-9]*\) passed.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
failed=$(sed -n 's/^test result: .* \([0-9][0-9]*\) failed.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
ignored=$(sed -n 's/^test result: .* \([0-9][0-9]*\) ignored.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
say "Tests: $passed passed, $failed failed, $ignored ignored"
[ "$passed" -gt 0 ] || die "no test ran"
[ "$failed" = 0 ] || die "$failed tests failed"
[ "$status" = 0 ] || die "cargo test ended with status $status"
