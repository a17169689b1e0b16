# What Debian does not ship built as the rig needs it, built from Debian's source packages. All of it is optional:
# without a piece the rig runs, and README.md says what is then missing.
#
#   guest-kernel   a small kernel for PV, PVH and HVM guests (16 MB); else guests boot Debian's
#   shadow         the hypervisor with shadow paging; else PV guests have no log-dirty
#   netbuf         libxenlight with libnl, for stock Remus's network buffering; else stock Remus needs -n

kernel_dir() { echo "$CACHE/built/guest-kernel-$(key_of "$RIG/guest/kernel.config")"; }
shadow_dir() { echo "$CACHE/built/shadow-$(key_of "$RIG/host/xen.config")"; }
netbuf_dir() { echo "$CACHE/built/netbuf-4.17"; }

build_guest_kernel() {
    need_packages "${KERNEL_PACKAGES[@]}"
    artefact "$(kernel_dir)" make_guest_kernel
}

make_guest_kernel() { # make_guest_kernel OUT
    local packages=$1/../packages tree=$1/../linux
    suite_apt bookworm
    unpacked_deb bookworm linux-source-6.1 "$packages"
    mkdir "$tree"
    tar -C "$tree" -xf "$packages/usr/src/linux-source-6.1.tar.xz" --strip-components=1
    say "building the guest kernel (5 minutes)"
    logged "$1/log" compile_guest_kernel "$tree" "$1"
}

compile_guest_kernel() { # compile_guest_kernel TREE OUT
    cd "$1"
    make -s tinyconfig
    ./scripts/kconfig/merge_config.sh -m .config "$RIG/guest/kernel.config"
    make -s olddefconfig
    make -s -j"$(nproc)" bzImage
    objcopy -S vmlinux "$2/vmlinux"
    cp arch/x86/boot/bzImage .config "$2/"
}

# xen_source DIR: Debian's source of Xen 4.17. The suite's own, as the security archive's is not always complete.
xen_source() {
    suite_apt bookworm
    (
        cd "$CACHE/debs/bookworm"
        apt-get "${APT[@]}" source --download-only xen/bookworm >/dev/null
        dpkg-source --no-check -x "$(find . -name 'xen_4.17*.dsc' | sort -V | tail -n 1)" "$1" >/dev/null
    )
}

build_shadow() {
    need_packages "${XEN_PACKAGES[@]}"
    artefact "$(shadow_dir)" make_shadow
}

make_shadow() { # make_shadow OUT
    xen_source "$1/../xen"
    say "building the hypervisor with shadow paging (2 minutes)"
    logged "$1/log" compile_shadow "$1/../xen" "$1"
}

compile_shadow() { # compile_shadow TREE OUT
    cp "$RIG/host/xen.config" "$1/xen/.config"
    make -C "$1/xen" olddefconfig XEN_CONFIG_EXPERT=y
    grep -q '^CONFIG_SHADOW_PAGING=y' "$1/xen/.config"
    make -C "$1/xen" -j"$(nproc)" XEN_CONFIG_EXPERT=y
    cp "$1/xen/xen" "$2/xen"
}

build_stock_netbuf() {
    need_packages "${XEN_PACKAGES[@]}"
    artefact "$(netbuf_dir)" make_netbuf
}

make_netbuf() { # make_netbuf OUT
    xen_source "$1/../xen"
    say "building libxenlight with libnl (2 minutes)"
    logged "$1/log" compile_netbuf "$1/../xen" "$1"
}

compile_netbuf() { # compile_netbuf TREE OUT
    cd "$1"
    cp /usr/share/misc/config.{guess,sub} .
    [ -f tools/configure ] || ./autogen.sh
    ./configure --disable-docs --disable-stubdom --disable-ocamltools --disable-golang --disable-seabios \
        --disable-ovmf --disable-ipxe --disable-rombios --disable-pvshim --disable-qemu-traditional \
        --with-system-qemu=/usr/libexec/xen-qemu-system-i386 --prefix=/usr --sysconfdir=/etc --localstatedir=/var \
        --libdir=/usr/lib/x86_64-linux-gnu --with-libexec-libdir=/usr/lib/xen-4.17/lib \
        --with-libexec-bin=/usr/lib/xen-4.17/bin --with-rundir=/run PYTHON=/usr/bin/python3
    make -C tools/include
    make -C tools/libs -j"$(nproc)"
    mkdir "$2/lib"
    objcopy -S tools/libs/light/libxenlight.so.4.17.0 "$2/lib/libxenlight.so.4.17"
    cp -L /lib/x86_64-linux-gnu/libnl-3.so.200 /usr/lib/x86_64-linux-gnu/libnl-route-3.so.200 "$2/lib/"
    cp tools/hotplug/Linux/remus-netbuf-setup "$2/"
}
