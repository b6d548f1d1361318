# Shared by up, down and test. Sourced, not run.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Everything `up` makes lives here, outside the checkout, readable for the unprivileged PostgreSQL user.
DEV_DIR=${ORCHESTRY_DEV_DIR:-${TMPDIR:-/tmp}/orchestry-dev-$(id -u)}
# Where SwiftPM builds; a folder that is kept saves minutes on the next build.
SCRATCH=${ORCHESTRY_DEV_SCRATCH:-$REPO/.build}
STARTED_AT=$SECONDS

if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'; else BOLD= DIM= RED= GREEN= PLAIN=; fi

step() { printf '%s[%4ds] %s%s\n' "$BOLD" $((SECONDS - STARTED_AT)) "$*" "$PLAIN"; }
note() { printf '        %s\n' "$*"; }
die() { printf '%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install_missing COMMAND-OR-FILE=PACKAGE …: installs the packages whose command or file is not there.
install_missing() {
    local wanted=() pair probe
    for pair in "$@"; do
        probe=${pair%%=*}
        if [[ $probe == /* ]]; then compgen -G "$probe" >/dev/null && continue
        else command -v "$probe" >/dev/null && continue; fi
        wanted+=("${pair#*=}")
    done
    [ ${#wanted[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || die "please install: ${wanted[*]} (this is not a Debian-like system, so it can't be done for you)"
    step "Installing ${wanted[*]}"
    as_root apt-get update -q >"$DEV_DIR/apt.log" 2>&1 || die "apt-get update failed, see $DEV_DIR/apt.log"
    # Debian starts services when they are installed; ours are private ones, so the system's stay off.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${wanted[@]}" \
        >>"$DEV_DIR/apt.log" 2>&1 || die "apt-get install failed, see $DEV_DIR/apt.log"
}

install_build_packages() {
    install_missing /usr/include/postgresql/libpq-fe.h=libpq-dev /usr/include/sqlite3.h=libsqlite3-dev \
        /usr/include/zlib.h=zlib1g-dev pkg-config=pkg-config
    command -v swift >/dev/null || die "the Swift toolchain (6.2 or later) is not on PATH: see https://www.swift.org/install/linux/"
}

install_runtime_packages() {
    # libpq-dev's client is not the server: look for the server's own program.
    install_missing '/usr/lib/postgresql/*/bin/initdb=postgresql' nginx=nginx \
        /usr/lib/nginx/modules/ngx_http_lua_module.so=libnginx-mod-http-lua \
        /usr/share/lua/5.1/resty/core.lua=lua-resty-core curl=curl iptables=iptables
    docker_answers || install_missing dockerd=docker.io
}

docker_answers() { curl -fsS --max-time 3 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1; }

# Starts dockerd if no engine answers; notes that it was us.
ensure_engine() {
    docker_answers && return 0
    step "Starting the container engine"
    # After a crash of the machine the pid files may name somebody else's process, and the engine would wait for it.
    local file pid
    for file in /var/run/docker.pid /run/docker/containerd/containerd.pid; do
        [ -e "$file" ] || continue
        pid=$(as_root cat "$file")
        # Neither another program under that number nor a dead one nobody has reaped is an engine.
        grep -qsE '^Name:\s+(dockerd|containerd)$' "/proc/$pid/status" &&
            ! grep -qsE '^State:\s+Z' "/proc/$pid/status" && continue
        as_root rm -f "$file"
    done
    as_root sh -c "setsid nohup dockerd --pidfile /var/run/docker.pid >'$DEV_DIR/dockerd.log' 2>&1 </dev/null & echo \$! >'$DEV_DIR/dockerd.started'"
    wait_for 60 "the container engine" docker_answers || die "dockerd does not answer, see $DEV_DIR/dockerd.log"
}

# wait_for SECONDS WHAT COMMAND…
wait_for() {
    local limit=$1 what=$2 tries=0
    shift 2
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -ge $((limit * 5)) ] && { note "gave up waiting for $what"; return 1; }
        sleep 0.2
    done
}

# The user PostgreSQL runs as: never root.
postgres_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }
as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp "$@"; else "$@"; fi; }
pg_bin() { ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1; }

# Whether the process whose number is in the file is one of ours: after a crash of the machine it may be anybody's.
alive() { [ -s "$1" ] && grep -qsaF "$DEV_DIR/" "/proc/$(cat "$1")/cmdline"; }

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
