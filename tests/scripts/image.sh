#!/usr/bin/env bash
# `make image`: lints docker/Dockerfile and builds it where there is no container engine and no registry.
# Debian, root. The two base images are made here from Debian's packages and this machine's Rust toolchain,
# under the names that the Dockerfile asks for. Where an engine is at hand, use it instead:
#   docker build -f docker/Dockerfile -t sluice .
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "$(id -u)" = 0 ] || die "building an image without an engine needs root"
tests/scripts/setup.sh image

say "Lint"
"$CACHE/python-image/bin/hadolint" --ignore DL3008 docker/Dockerfile
note "docker/Dockerfile: no findings (DL3008, pinned apt versions, is left to the base image's snapshot)"

STATE=$TARGET/sluice-image
BASE=docker.io/library/debian:bookworm-slim
BUILDER=docker.io/library/rust:1.95-slim-bookworm
B=(buildah --storage-driver vfs --root "$STATE/store" --runroot "$STATE/run")
mkdir -p "$STATE"
exists() { "${B[@]}" inspect --type image "$1" >/dev/null 2>&1; }

if ! exists "$BASE"; then
  say "Base image from Debian's packages"
  [ -f "$STATE/base.tar" ] || mmdebstrap --mode=root --variant=minbase --include=ca-certificates bookworm "$STATE/base.tar"
  container=$("${B[@]}" from scratch)
  "${B[@]}" add -q "$container" "$STATE/base.tar" / >/dev/null
  "${B[@]}" config --cmd bash "$container"
  "${B[@]}" commit -q --rm "$container" "$BASE" >/dev/null
fi
if ! exists "$BUILDER"; then
  say "Builder image from this machine's Rust toolchain"
  [ -f "$STATE/builder.tar" ] || mmdebstrap --mode=root --variant=minbase \
    --include=ca-certificates,gcc,libc6-dev,make,mold bookworm "$STATE/builder.tar"
  container=$("${B[@]}" from scratch)
  "${B[@]}" add -q "$container" "$STATE/builder.tar" / >/dev/null
  "${B[@]}" add -q "$container" "$(rustc --print sysroot)" /usr/local >/dev/null
  "${B[@]}" config --cmd bash --env CARGO_HOME=/usr/local/cargo "$container"
  "${B[@]}" commit -q --rm "$container" "$BUILDER" >/dev/null
fi

say "Build"
# Crates come from this machine's own download cache, so that the build needs no network.
cargo fetch --locked --quiet
REGISTRY=${CARGO_HOME:-$HOME/.cargo}/registry
"${B[@]}" bud --isolation chroot --network host --pull-never --format docker \
  --volume "$REGISTRY:/usr/local/cargo/registry" --build-arg CARGO_NET_OFFLINE=true \
  --build-arg PROFILE="${SLUICE_IMAGE_PROFILE:-dist}" -f docker/Dockerfile -t sluice .

say "The image starts"
container=$("${B[@]}" from --pull-never localhost/sluice)
trap '"${B[@]}" rm "$container" >/dev/null' EXIT
# chroot isolation ignores ENTRYPOINT: name the program.
"${B[@]}" run --isolation chroot "$container" -- sluice --version
"${B[@]}" run --isolation chroot "$container" -- sluice check --help >/dev/null
"${B[@]}" run --isolation chroot "$container" -- bash -c '[ "$(id -u)" = 10480 ] && [ -w /var/lib/sluice/spill ]'
"${B[@]}" images
