# The Debian packages of the machine the rig runs on, and packages taken apart for the images.

RIG_PACKAGES=(jq mmdebstrap e2fsprogs xz-utils zstd busybox-static kmod cpio openssh-client socat python3 gcc libc6-dev
    seabios ipxe-qemu)
KERNEL_PACKAGES=(bc libelf-dev libssl-dev gcc libc6-dev make flex bison xz-utils)
XEN_PACKAGES=(gcc libc6-dev make flex bison python3-dev libyajl-dev libnl-route-3-dev libnl-3-dev uuid-dev
    libncurses-dev pkg-config zlib1g-dev liblzma-dev libzstd-dev libbz2-dev dpkg-dev gettext acpica-tools
    autoconf automake)

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

need_root() { [ "$(id -u)" = 0 ] || skip "building images needs root (mmdebstrap, file owners in the images)"; }

need_packages() { # need_packages NAME…: installs those that are missing
    local name missing=()
    for name in "$@"; do installed "$name" || missing+=("$name"); done
    [ ${#missing[@]} -eq 0 ] && return
    need_root
    say "installing ${missing[*]}"
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

# QEMU's system emulator and qemu-img must be of one version: where a backport of qemu-utils is installed beside a
# stable emulator, apt has to be told to go back.
need_qemu() {
    installed qemu-system-x86 && installed qemu-utils && return
    need_root
    local version
    apt-get update -q >/dev/null
    version=$(apt-cache policy qemu-system-x86 | sed -n 's/ *Candidate: //p')
    say "installing QEMU $version"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --allow-downgrades \
        "qemu-system-x86=$version" "qemu-utils=$version" >/dev/null
}

rig_packages() {
    command -v apt-get >/dev/null || skip "the rig is built from Debian packages and there is no apt-get here"
    need_qemu
    need_packages "${RIG_PACKAGES[@]}"
}

mirror_of() { # mirror_of PATTERN: the repository of apt's configuration whose code name matches
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        awk -v want="$1" '$1 ~ /debian(-security)?\/?$/ && $2 ~ want { print $1; exit }'
}

# The package lists of SUITE in apt directories of the rig's own, so that the machine may be of another suite.
# Sets APT, the options that make apt use them; the mirrors are those apt is already configured with.
suite_apt() {
    local suite=$1 home=$CACHE/debs/$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror security
    mirror=$(mirror_of '^[a-z]+$')
    security=$(mirror_of '-security$')
    [ -n "$mirror" ] || die "apt is configured with no Debian mirror: add one to its sources"
    mkdir -p "$home"/{state/lists/partial,cache/archives/partial}
    {
        echo "deb [signed-by=$keyring] $mirror $suite main"
        echo "deb-src [signed-by=$keyring] $mirror $suite main"
        [ -z "$security" ] || echo "deb [signed-by=$keyring] $security $suite-security main"
    } >"$home/sources.list"
    APT=(-q -o "Dir::State=$home/state" -o "Dir::Cache=$home/cache" -o "Dir::Etc::sourcelist=$home/sources.list"
        -o Dir::Etc::sourceparts=/nonexistent -o Dir::State::status=/dev/null -o Acquire::Languages=none
        -o APT::Sandbox::User=root)
    apt-get "${APT[@]}" update >/dev/null
}

# unpacked_deb SUITE PACKAGE DIR: the package's files in DIR, downloaded once per version.
unpacked_deb() {
    local home=$CACHE/debs/$1 package=$2 dir=$3
    mkdir -p "$home/files" "$dir"
    (
        cd "$home/files"
        apt-get "${APT[@]}" download "$package" >/dev/null
        dpkg-deb -x "$(find . -name "${package}_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)" "$dir"
    )
}
