# The userland of the guest tsvc: Debian's own dropbear, iperf3, redis and busybox's httpd, each with the libraries it
# needs and nothing else, some 20 MB. It is not a Debian: packages are taken apart, nothing of them is configured.
#
#   $CACHE/services/KEY/tree/    usr/bin/… usr/sbin/… lib/x86_64-linux-gnu/… lib64/ld-linux-x86-64.so.2
#
# lib/share.sh puts rigguest's own userland and services/start around it, and makes an initramfs of both.

SERVICE_PACKAGES=dropbear-bin,iperf3,redis-tools
SERVICE_PROGRAMS=(usr/sbin/dropbear usr/bin/dropbearkey usr/bin/iperf3 usr/bin/redis-check-rdb)
LOADER=lib64/ld-linux-x86-64.so.2

services_dir() { echo "$CACHE/services/$(key_of "$SERVICE_PACKAGES" "$RIG/lib/services.sh")"; }

build_services() { artefact "$(services_dir)" make_services; }

make_services() { # make_services OUT
    local packages=$1/../packages tree=$1/tree program library
    suite_apt bookworm
    say "unpacking the services of the guest tsvc (20 seconds)"
    mmdebstrap --quiet --variant=extract --include="$SERVICE_PACKAGES" bookworm "$packages" \
        "$CACHE/debs/bookworm/sources.list"
    install -D "$packages/$LOADER" "$tree/$LOADER"
    for program in "${SERVICE_PROGRAMS[@]}"; do
        install -D "$packages/$program" "$tree/$program"
        libraries_of "$packages" "$program" | while read -r library; do
            install -D -m 644 "$library" "$tree/lib/x86_64-linux-gnu/$(basename "$library")"
        done
    done
    ln -s redis-check-rdb "$tree/usr/bin/redis-server" # the program is by its name one or the other
}

libraries_of() { # libraries_of PACKAGES PROGRAM: files among the packages, as their own loader finds them
    "$1/$LOADER" --library-path "$1/lib/x86_64-linux-gnu:$1/usr/lib/x86_64-linux-gnu" --list "$1/$2" |
        awk '/not found/ { print > "/dev/stderr"; exit 1 } $2 == "=>" { print $3 }'
}
