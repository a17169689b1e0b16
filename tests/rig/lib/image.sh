# What a host boots, from Debian packages only:
#
#   xen          the hypervisor, uncompressed (QEMU -kernel wants multiboot ELF)
#   vmlinux      dom0's kernel, decompressed (unpacking it under emulation costs seconds)
#   vmlinuz      the same as packaged, for HVM guests
#   dom0-initrd  busybox and the modules that mount the root
#   root.img     dom0's root, never written: hosts use overlays of it
#   modules/     kernel modules for guests that boot Debian's kernel, and their order
#
# No initramfs-tools, no grub, no loop mounts: packages are taken apart.

XEN_VERSION_bookworm=4.17 XEN_VERSION_trixie=4.20

ROOT_MODULES=(virtio_pci virtio_blk ext4 crc32c_generic)
DOM0_MODULES=(virtio_net virtio_console virtio_rng xen-netback xen-blkback xen-gntdev xen-gntalloc xen-evtchn
    xen-privcmd xenfs xen-pciback bridge stp llc ifb sch_plug sch_ingress sch_prio sch_fq_codel sch_netem cls_u32
    cls_matchall cls_bpf act_mirred act_gact em_meta nbd drbd loop dm-mod dm-snapshot br_netfilter nf_tables nft_compat
    xt_physdev iptable_filter ip_tables tun veth tap dummy msr)
GUEST_MODULES=(xen-netfront)

dom0_packages() { # dom0_packages XEN_VERSION
    echo "xen-utils-$1,xenstore-utils,libxenmisc$1,qemu-system-xen,openssh-server,openssh-client,iproute2,bridge-utils"
    echo "busybox-static,kmod,procps,less,tar,zstd,socat,netcat-openbsd,iputils-ping,tcpdump,ethtool,strace,iptables"
    echo "net-tools,libnl-utils,python3-minimal,e2fsprogs,drbd-utils,nbd-client,iperf3,systemd"
}

xen_version() { # xen_version SUITE
    local name=XEN_VERSION_$1
    [ -n "${!name:-}" ] || die "no suite '$1': there are bookworm (Xen 4.17) and trixie (Xen 4.20)"
    echo "${!name}"
}

image_dir() { # image_dir SUITE
    local version
    version=$(xen_version "$1") || exit
    echo "$CACHE/images/$1-$(key_of "$1" "$version" "$RIG/lib/image.sh" "$RIG"/host/*)"
}

build_image() { # build_image SUITE
    local dir
    dir=$(image_dir "$1")
    [ -d "$dir" ] && return
    rig_packages
    need_root
    rig_keys
    artefact "$dir" make_image "$1"
}

# One key for all of the rig: it opens nothing but the rig's hosts, which only this machine can reach.
rig_keys() {
    mkdir -p "$CACHE/keys"
    [ -f "$CACHE/keys/id" ] || ssh-keygen -q -t ed25519 -N '' -C understudy-rig -f "$CACHE/keys/id"
    [ -f "$CACHE/keys/host" ] || ssh-keygen -q -t ed25519 -N '' -C understudy-rig-host -f "$CACHE/keys/host"
}

make_image() { # make_image OUT SUITE
    local out=$1 suite=$2 version packages=$1/../packages tree=$1/../root kernel
    version=$(xen_version "$suite")
    suite_apt "$suite"
    kernel=$(apt-cache "${APT[@]}" depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-\([0-9][^ ]*\)/\1/p' |
        head -n 1)
    say "Xen $version, Linux $kernel"
    unpacked_deb "$suite" "linux-image-$kernel" "$packages"
    unpacked_deb "$suite" "xen-hypervisor-$version-amd64" "$packages"
    gunzip -c "$packages/boot/xen-$version-amd64.gz" >"$out/xen"
    cp "$packages/boot/vmlinuz-$kernel" "$out/vmlinuz"
    python3 "$RIG/host/decompress-kernel.py" "$out/vmlinuz" "$out/vmlinux"
    kernel_modules "$packages" "$kernel"
    copy_modules "$packages" "$kernel" "$out/modules" "${GUEST_MODULES[@]}"
    dom0_initrd "$packages" "$kernel" "$out"
    dom0_root "$suite" "$version" "$tree"
    dom0_modules "$packages" "$kernel" "$tree"
    dom0_files "$tree" "$version"
    truncate -s 1600M "$out/root.img"
    mkfs.ext4 -q -F -O ^has_journal,^metadata_csum -m 0 -L rigroot -d "$tree" "$out/root.img"
    say "root.img: $(du -m "$out/root.img" | cut -f1) MiB on disk"
}

kernel_modules() { # kernel_modules PACKAGES KERNEL: the modules in lib/modules, uncompressed, with their dependencies
    local packages=$1 kernel=$2
    if [ ! -d "$packages/lib/modules" ]; then
        mkdir -p "$packages/lib"
        mv "$packages/usr/lib/modules" "$packages/lib/"
    fi
    find "$packages/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -r -P "$(nproc)" -n 200 unxz
    depmod -b "$packages" "$kernel"
}

modules_needed() { # modules_needed PACKAGES KERNEL NAME…: files in the order of loading; what is built in has none
    local packages=$1 kernel=$2 name
    shift 2
    for name in "$@"; do
        modprobe -d "$packages" -S "$kernel" --show-depends "$name" 2>/dev/null || true
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

copy_modules() { # copy_modules PACKAGES KERNEL DIR NAME…: flat, with a file "order"
    local packages=$1 kernel=$2 dir=$3 file
    shift 3
    mkdir -p "$dir"
    : >"$dir/order"
    modules_needed "$packages" "$kernel" "$@" | while read -r file; do
        cp "$file" "$dir/"
        basename "$file" >>"$dir/order"
    done
}

busybox_tree() { # busybox_tree DIR INIT: a busybox root with INIT as /init
    local name
    mkdir -p "$1"/{bin,dev,proc,sys,mnt,lib,tmp}
    for name in $(busybox --list); do ln -sf busybox "$1/bin/$name"; done
    cp --remove-destination /bin/busybox "$1/bin/busybox"
    install -m 755 "$2" "$1/init"
}

pack_initrd() { (cd "$1" && find . | cpio -o -H newc --quiet | gzip -1) >"$2"; } # pack_initrd TREE FILE

dom0_initrd() { # dom0_initrd PACKAGES KERNEL OUT
    local tree=$3/../initrd
    busybox_tree "$tree" "$RIG/host/dom0-init"
    copy_modules "$1" "$2" "$tree/lib" "${ROOT_MODULES[@]}"
    pack_initrd "$tree" "$3/dom0-initrd"
}

dom0_root() { # dom0_root SUITE VERSION TREE: Debian's packages; the bare tree is kept as a tar file
    local suite=$1 tree=$3 list tar
    list=$(dom0_packages "$2" | paste -sd,)
    tar=$CACHE/roots/$suite-$(key_of "$suite" "$list").tar
    mkdir -p "$CACHE/roots" "$tree"
    if [ ! -f "$tar" ]; then
        say "installing dom0's packages (30 seconds)"
        mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Languages "none"' \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
            --include="$list" "$suite" "$tree.tar" "$CACHE/debs/$suite/sources.list"
        mv "$tree.tar" "$tar"
    fi
    tar -C "$tree" -xf "$tar"
}

dom0_modules() { # dom0_modules PACKAGES KERNEL TREE
    local packages=$1 kernel=$2 tree=$3 file
    mkdir -p "$tree/lib/modules/$kernel"
    modules_needed "$packages" "$kernel" "${ROOT_MODULES[@]}" "${DOM0_MODULES[@]}" | while read -r file; do
        install -D -m 644 "$file" "$tree/${file#"$packages"/}"
    done
    cp "$packages/lib/modules/$kernel"/modules.{builtin,order,builtin.modinfo} "$tree/lib/modules/$kernel/"
    depmod -b "$tree" "$kernel"
}

# A host that boots with systemd (rig.init=systemd) has Debian's own scripts start Xen's toolstack; of all other services, none.
dom0_units() { # dom0_units TREE
    local units=$1/etc/systemd/system name
    rm -rf "$units"/*.wants
    find "$1"/etc/rc?.d -name 'S*' ! -name 'S*xen' ! -name 'S*xendomains' -delete
    mkdir -p "$units/multi-user.target.wants"
    install -m 644 "$RIG"/host/rig*.service "$units/"
    for name in rig rig-up; do ln -s "../$name.service" "$units/multi-user.target.wants/$name.service"; done
    for name in getty.target systemd-networkd-wait-online.service; do ln -sf /dev/null "$units/$name"; done
    ln -sf /usr/lib/systemd/system/multi-user.target "$units/default.target"
}

dom0_files() { # dom0_files TREE VERSION: what makes a Debian tree a host of the rig
    local tree=$1 file
    rm -f "$tree"/etc/ssh/ssh_host_*
    install -m 600 "$CACHE/keys/host" "$tree/etc/ssh/ssh_host_ed25519_key"
    install -m 644 "$CACHE/keys/host.pub" "$tree/etc/ssh/ssh_host_ed25519_key.pub"
    install -d -m 700 "$tree/root/.ssh"
    install -m 600 "$CACHE/keys/id" "$tree/root/.ssh/id_ed25519"
    install -m 600 "$CACHE/keys/id.pub" "$tree/root/.ssh/authorized_keys"
    install -m 600 "$RIG/host/ssh_config" "$tree/root/.ssh/config"
    install -m 644 "$RIG/host/sshd_config" "$tree/etc/ssh/sshd_config"
    install -m 755 "$RIG/host/rig-rc" "$tree/usr/sbin/rig-rc"
    dom0_units "$tree"
    for file in xl-netbuf xr-nc; do install -m 755 "$RIG/host/$file" "$tree/usr/local/bin/$file"; done
    install -m 644 "$RIG/host/inittab" "$tree/etc/inittab"
    ln -sf busybox "$tree/usr/bin/init"
    ln -sfn "xen-$2" "$tree/usr/lib/xen"
    mkdir -p "$tree/rig" "$tree/etc/xen/auto" "$tree/usr/lib/x86_64-linux-gnu/libnl"
    ln -sfn ../libnl-3/cli "$tree/usr/lib/x86_64-linux-gnu/libnl/cli" # Debian's nl-qdisc-add looks there
    printf '127.0.0.1 localhost\n10.9.0.1 hosta\n10.9.0.2 hostb\n' >"$tree/etc/hosts"
    rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{doc,man,locale}
}
