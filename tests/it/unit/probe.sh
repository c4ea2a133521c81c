# Tries what the unit takes away; each line is `name: yes` or `name: no`. Run by the service itself.
try() {
  name=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi
}
# That the probe itself works.
try write-in-state touch /var/lib/dockseal/probe
try write-in-watch-folder touch /srv/dock/probe.part
rm -f /var/lib/dockseal/probe /srv/dock/probe.part
try write-in-etc touch /etc/probe
try write-in-usr touch /usr/probe
try read-root-home ls /root
try mount mount -t tmpfs tmpfs /srv/dock
try user-namespace unshare --user true
try network-namespace unshare --net true
try netlink-socket python3 -c 'import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)'
try packet-socket python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'
try internet-socket python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)'
try set-clock date -s 2020-01-01
try device mknod /var/lib/dockseal/device c 1 3
try trace-another python3 -c 'import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0'
try writable-code python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'
