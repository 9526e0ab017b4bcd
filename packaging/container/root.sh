#!/bin/sh
# root.sh BINARIES FOLDER: makes FOLDER/root, which is an image's whole file system: the binaries of that folder, the libraries
# that they name, the authorities that this system trusts, and how names are looked up. Nothing else is in it, no shell
# either. FOLDER/state is where state is kept, and empty.
set -eu

binaries=$1 root=$2/root
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$2/state"
for binary in edgeproxy edgeproxy-agent; do
    install -m 755 "$binaries/$binary" "$root/usr/bin/"
    # Lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader's, which is a path alone.
    ldd "$binaries/$binary" | sed -n 's/^.*[[:space:]]\(\/[^ ]*\) (0x.*$/\1/p' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp --dereference --preserve=mode "$library" "$root$library"
    done
done
cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
