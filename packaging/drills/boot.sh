#!/bin/sh
# Becomes a systemd in namespaces, with a fresh copy of a root, which runs one drill.
# $1: the root; $2: a folder with the drill, which it sees as /drill; $3: the drill; $4: `plain`
# for a drill that needs no systemd.
set -e
root=$1
here=$2
drill=$3
init=${4:-systemd}
exec >"$here/said" 2>&1
# Nothing that is mounted from here on reaches the machine, and nothing of it is seen but $2.
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
layers="lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work"
# In a user namespace (packaging/emulate) dpkg could not rename a new folder without.
[ "$init" = plain ] && layers=$layers,userxattr
mount -t overlay overlay /mnt/root -o "$layers"
cd /mnt/root
mkdir -p drill old
mount --bind "$here" drill
mount -t proc proc proc
mount -t sysfs sysfs sys
for folder in run tmp dev; do mount -t tmpfs tmpfs "$folder"; done
# Devices of its own: what systemd puts beside them stays here.
mkdir -p dev/pts dev/shm run/lock
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx dev/ptmx
for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "dev/${name%:*}"; done
ln -s /proc/self/fd dev/fd
echo drill >etc/hostname
cp /etc/resolv.conf etc/resolv.conf 2>/dev/null || true
: >etc/machine-id
pivot_root . old
umount -l /old

[ "$init" = plain ] && exec bash "/drill/$drill.sh"
mkdir -p /run/systemd/system
cat >/run/systemd/system/drill.service <<UNIT
[Service]
Type=oneshot
ExecStart=/bin/bash /drill/$drill.sh
ExecStopPost=/bin/systemctl exit 0
Environment=HOME=/root
StandardOutput=append:/drill/said
StandardError=append:/drill/said
UNIT
cat >/run/systemd/system/drill.target <<UNIT
[Unit]
Requires=basic.target
Wants=drill.service
UNIT
# LoadCredential= needs mounts that its helper makes to come back.
mount --make-rshared /
export container=drill
exec /lib/systemd/systemd --system --unit=drill.target --show-status=no
