# A machine without any network: three files are copied to it, installed, and purged again.
. /drill/steps.sh
fact 'there is no network' test "$(ls /sys/class/net)" = lo
fact 'three files install, with what every Debian has' dpkg -i /drill/packages/*.deb
fact 'it is not started without a config' not systemctl is-active dockseal
fact 'nor enabled' not systemctl is-enabled dockseal
fact 'the groups are there' getent group dockseal dockseal-ops
fact 'the programs run' sh -c 'dockseal --version && dockseal-authority --version && dockseal-audit --version'

dockseal-authority keygen /root/identity | grep -o 'age1pq1[a-z0-9]*' | head -n 1 >/drill/recipient
install -d -o dockseal -g dockseal /srv/bucket
configure /srv/bucket
dock init
systemctl enable --now dockseal
put 3 first
fact 'three clips are stored' soon clips erased 3
fact 'three objects are there' objects /srv/bucket 3

# A spool that is empty, every clip stored, and the log published.
fact 'the log is in the bucket' soon published
dpkg -r dockseal
fact 'the daemon is stopped' not systemctl is-active dockseal
fact 'removed: the state is kept' test -s $state/signing-key
dpkg -P dockseal >/drill/purged 2>&1
cat /drill/purged
fact 'purged: the state is gone' not test -e $state
fact 'purged: config and credentials are gone' not test -e /etc/dockseal
fact 'purged: the dock folder is gone, for it was empty' not test -e /srv/dock
fact 'the bucket is as it was' objects /srv/bucket 3

# A clip that was seen and could not be sealed: the spool is empty, and yet something would be lost.
dpkg -i /drill/packages/dockseal_*.deb
configure /srv/bucket
dock init
: >/etc/dockseal/keyring
sed -i 's|^recipients.*|keyring = "/etc/dockseal/keyring"\nauthority = "'"$(
  dockseal-authority keyring init drill --dir /root/authority | grep -o '"drill+.*"' | tr -d '"'
)"'"|' /etc/dockseal/dockseal.toml
systemctl enable --now dockseal
put 1 held
fact 'a clip waits unsealed' soon clips seen 1
dpkg -P dockseal >/drill/purged 2>&1
cat /drill/purged
fact 'purge keeps the queue of a clip that is not stored' test -s $state/queue.db
fact 'and the signing key' test -s $state/signing-key
fact 'and the clip' test -s /srv/dock/held-1.mp4
fact 'and says why' grep -q "kept: its queue does not say that every clip is stored" /drill/purged
journalctl -u dockseal --no-pager | tail -n 40
echo "done offline" >>"$facts"
