# What every part of the rig shares: where things are, how it speaks, how an artefact is built once and kept.
#
#   $CACHE/debs/SUITE/         apt's own state and downloaded packages
#   $CACHE/roots/              bare dom0 trees as tar files, by suite and package list
#   $CACHE/images/SUITE-KEY/   what a host boots (lib/image.sh)
#   $CACHE/services/KEY/       the userland of the guest tsvc (lib/services.sh)
#   $CACHE/shares/SUITE-KEY/   the read-only disk with the guests (lib/share.sh)
#   $CACHE/built/NAME-KEY/     what is built from Debian source packages (lib/source.sh)
#   $CACHE/keys/               the rig's ssh keys
#   $RUN/                      one running rig (lib/host.sh)
#
# An artefact's KEY is a hash of everything that goes into it. It is built in $CACHE/tmp.* and renamed when it is
# whole, so an interrupted build leaves nothing that could be taken for a finished one.

CACHE=${UNDERSTUDY_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/understudy-rig}
RUN=${UNDERSTUDY_RIG_RUN:-$CACHE/run}
SKIP=77 # exit code of what cannot run here

say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

die() {
    printf 'rig: %s\n' "$*" >&2
    exit 1
}

skip() {
    printf 'rig: skipped: %s\n' "$*" >&2
    exit "$SKIP"
}

key_of() { # key_of WORD… FILE…: a hash of the words and of the files' contents
    local part
    for part in "$@"; do
        if [ -f "$part" ]; then cat "$part"; else printf '%s\n' "$part"; fi
    done | sha256sum | cut -c1-12
}

# logged LOG FUNCTION ARG…: its output goes to the file; when it fails the end of that is shown. A function that is
# called in a condition goes on after an error, so the errors of these are caught the long way.
logged() {
    local log=$1 code
    shift
    set +e
    (set -e; "$@") >"$log" 2>&1
    code=$?
    set -e
    [ "$code" -eq 0 ] && return
    tail -n 20 "$log" >&2
    die "$1 failed"
}

# artefact DIR FUNCTION ARG…: unless DIR exists, FUNCTION builds it in a new directory given as its first argument.
artefact() {
    local dir=$1 make=$2 work
    shift 2
    [ -d "$dir" ] && return
    mkdir -p "$CACHE"
    (
        exec 9>"$CACHE/lock"
        flock -n 9 || { say "waiting for another build of this cache"; flock 9; }
        [ -d "$dir" ] && exit 0
        rm -rf "$CACHE"/tmp.* # nobody else builds: these are of builds that were cut off
        work=$(mktemp -d "$CACHE/tmp.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        chmod 755 "$work"
        mkdir "$work/out"
        "$make" "$work/out" "$@"
        mkdir -p "$(dirname "$dir")"
        mv -T "$work/out" "$dir"
    )
    say "built $dir"
}
