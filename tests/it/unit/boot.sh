#!/bin/sh
# Becomes a systemd in namespaces of its own, which installs a dock as docs/operations.md says and
# runs drill.sh: nothing of it is seen, or stays, outside. $1: a folder with this script, drill.sh, the
# config, the credential, clips, the program and `systemd/`; said.log and facts appear there.
set -e
here=$1
exec >"$here/said.log" 2>&1
# Nothing that is mounted from here on reaches the machine.
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
for folder in usr etc var; do
  mkdir -p "/mnt/$folder/upper" "/mnt/$folder/work"
  mount -t overlay overlay "/$folder" \
    -o "lowerdir=/$folder,upperdir=/mnt/$folder/upper,workdir=/mnt/$folder/work"
done
mount -t proc proc /proc
for folder in run tmp srv; do mount -t tmpfs tmpfs "/$folder"; done
mkdir -p /run/systemd/system /run/lock

install -m 0755 "$here/dockseal" /usr/bin/dockseal
install -m 0644 "$here/systemd/sysusers.d/dockseal.conf" /usr/lib/sysusers.d/
install -m 0644 "$here/systemd/tmpfiles.d/dockseal.conf" /usr/lib/tmpfiles.d/
install -m 0644 "$here"/systemd/dockseal*.s* /etc/systemd/system/
systemd-sysusers dockseal.conf
systemd-tmpfiles --create dockseal.conf
install -m 0640 -g dockseal "$here/dockseal.toml" /etc/dockseal/dockseal.toml
install -m 0600 "$here/credential" /etc/dockseal/bucket-primary.credential
install -d -m 0700 -o dockseal -g dockseal /var/lib/dockseal
runuser -u dockseal -- dockseal init

mkdir -p /etc/systemd/system/dockseal.service.d
cat >/etc/systemd/system/dockseal.service.d/drill.conf <<UNIT
[Service]
LoadCredential=bucket-primary:/etc/dockseal/bucket-primary.credential
# Shorter than in the field, so that the drill need not wait for a minute.
WatchdogSec=4
RestartSec=1
# What a program that took the daemon's place could do, with all that the unit takes away.
ExecStartPre=-/bin/sh -c 'sh /run/probe.sh >/run/dockseal/probe 2>&1'
UNIT
install -m 0755 "$here/probe.sh" /run/probe.sh
cat >/run/systemd/system/drill.service <<UNIT
[Service]
Type=oneshot
ExecStart=/bin/sh $here/drill.sh $here
ExecStopPost=/bin/systemctl exit 0
StandardOutput=append:$here/said.log
StandardError=append:$here/said.log
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
