# From the build before, with a full queue, to this one; not back; and a purge that keeps clips.
. /drill/steps.sh
schema() { [ "$(od -An -tu1 -j60 -N4 $state/queue.db | tr -d ' \n')" = "000$1" ]; }
count=200

dpkg -i /drill/before/dockseal_*.deb /drill/packages/dockseal-authority_*.deb
dockseal-authority keygen /root/identity | grep -o 'age1pq1[a-z0-9]*' | head -n 1 >/drill/recipient
mkdir -p /srv/disk
# The bucket is away: a disk that is not mounted.
configure /srv/disk/bucket
dock init
systemctl enable --now dockseal
put $count clip
fact "the queue is full: $count clips are sealed and wait" soon clips sealed $count
fact 'its schema is the one before' schema 2
spool=$(find $state/spool -type f | sort | sha256sum)
ls -l $state
before=$(systemctl show --value -p MainPID dockseal)

dpkg -i /drill/packages/dockseal_*.deb
fact 'upgraded' dpkg-query -W -f '${Version}\n' dockseal
fact 'the daemon was restarted' soon systemctl is-active dockseal
fact 'as another process' test "$(systemctl show --value -p MainPID dockseal)" != "$before"
fact 'the schema is the new one' soon schema 3
fact "all $count clips still wait" soon clips sealed $count
fact 'the spool is the same' test "$(find $state/spool -type f | sort | sha256sum)" = "$spool"

running=$(systemctl show --value -p MainPID dockseal)
dpkg -i /drill/before/dockseal_*.deb >/drill/refused 2>&1
fact 'the downgrade is refused' test $? -ne 0
cat /drill/refused
fact 'with a clear sentence' grep -q 'is of a newer dockseal (schema 3; this one reads 2)' /drill/refused
fact 'and a hint' grep -q 'hint: nothing was changed' /drill/refused
fact 'the new version stays installed' sh -c 'dpkg-query -W -f "\${db:Status-Abbrev} \${Version}" dockseal | grep -q "^ii.* 0.1"'
fact 'and the daemon runs' soon systemctl is-active dockseal
fact "all $count clips still wait then" soon clips sealed $count

# A purge while clips wait in the spool.
dpkg -P dockseal >/drill/purged 2>&1
cat /drill/purged
fact 'purge keeps the spool' test "$(find $state/spool -type f | sort | sha256sum)" = "$spool"
fact 'and the signing key' test -s $state/signing-key
fact 'and the config' test -s /etc/dockseal/dockseal.toml
fact 'and says where' grep -q "kept: sealed clips are in $state/spool" /drill/purged

# Installed again, with its disk.
install -d -o dockseal -g dockseal /srv/disk/bucket
dpkg -i /drill/packages/dockseal_*.deb
systemctl enable --now dockseal
fact "all $count clips are stored and erased" soon clips erased $count
fact "$count objects are in the bucket" objects /srv/disk/bucket $count
fact 'the spool is empty' not grep -q . <<<"$(find $state/spool -type f)"
put 3 after
fact 'new clips go the same way' soon clips erased $((count + 3))
fact 'the dock folder is empty' not grep -q . <<<"$(find /srv/dock -type f)"
clip=$(find /srv/disk/bucket -name '*.age' -print -quit)
mkdir /root/opened
dockseal-authority open "$clip" --identity /root/identity --out /root/opened
fact 'one of them opens' sh -c 'find /root/opened -type f -size 20000c | grep -q .'
fact 'the log is in the bucket' soon published
dpkg -P dockseal >/drill/purged 2>&1
cat /drill/purged
fact 'now a purge removes the state' not test -e $state
journalctl -u dockseal --no-pager | tail -n 40
echo "done upgrade" >>"$facts"
