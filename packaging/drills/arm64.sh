# The packages for arm64, in a Debian for arm64 whose programs qemu runs: a clip's whole life, and
# the same bytes as this machine's own programs make of it.
. /drill/steps.sh
began=$SECONDS
native=/root/native/usr/bin
# $1: a program. ELF, e_machine: 183 is AArch64.
machine() { od -An -tu2 -j18 -N2 "$1" | tr -d ' '; }
# $1: a package, $2: a field of it.
field() { dpkg-query -W -f "\${$2}" "$1"; }
# $1: programs' folder. What it makes of the one clip is in a folder of its own.
opens() {
  local out
  out=$(mktemp -d)
  "$1/dockseal-authority" open /srv/bucket/drill-1/clips/*/*.age --identity "$identity" --out "$out" &&
    cmp /root/clip "$out/clip.mp4"
}
audits() {
  "$1/dockseal-audit" file:///srv/bucket --keyring /root/authority/keyring --authority "$pin"
}

fact 'this is a Debian for arm64' test "$(dpkg --print-architecture) $(uname -m)" = 'arm64 aarch64'
fact 'three packages install' dpkg -i /drill/packages/*_arm64.deb
[ -x /usr/bin/dockseal ] || exit 1
for deb in /drill/packages/*_amd64.deb; do dpkg -x "$deb" /root/native; done
for program in dockseal dockseal-authority dockseal-audit; do
  fact "$program is for arm64, version $(field $program Version)" test "$(field $program Architecture)" = arm64
  fact "and depends on $(field $program Depends)" grep -q 'libc6 (>= ' <<<"$(field $program Depends)"
  fact 'as the one for amd64' test "$(field $program Depends)" = \
    "$(dpkg-deb -f /drill/packages/${program}_*_amd64.deb Depends)"
  fact 'its program is AArch64, the other one x86-64' \
    test "$(machine /usr/bin/$program) $(machine $native/$program)" = '183 62'
  fact "it runs: $($program --version)" test "$($program --version)" = "$($native/$program --version)"
done

authority() { dockseal-authority keyring "$@" --dir /root/authority; }
pin=$(authority init bpol.example | sed -n 's/^authority = "\(.*\)"/\1/p')
authority add-recipient evidence --new
identity=$(find /root/authority/identities -type f)
install -d -o dockseal -g dockseal /srv/bucket
configure /srv/bucket "authority = \"$pin\"
keyring = \"/etc/dockseal/keyring\""
fact 'init' dock init
dock init >/root/enrolment
authority add-dock $(grep -o 'dockseal-dock .*' /root/enrolment) \
  --fingerprint "$(sed -n 's/^ *fingerprint //p' /root/enrolment)"
authority sign
cp /root/authority/keyring /etc/dockseal/keyring
fact 'the keyring is in the bucket' authority publish file:///srv/bucket
chown -R dockseal:dockseal /srv/bucket
dock check | tee /root/checked
fact 'the self-test gives the known answers' grep -q '^ok *sealing: gives the known answers' /root/checked
fact 'nothing fails' not grep -q '^fail' /root/checked

head -c 3000000 /dev/urandom >/root/clip
install -o dockseal -g dockseal -m 0640 /root/clip /srv/dock/clip.mp4
sealing=$SECONDS
fact 'a clip of 3 MB goes its way' dock run --until-idle
fact "in $((SECONDS - sealing)) s" clips erased 1
fact 'one object is there' objects /srv/bucket 1
fact 'the plaintext is gone' not test -e /srv/dock/clip.mp4
fact 'it opens on arm64, with the same bytes' opens /usr/bin
fact 'and on amd64' opens $native
fact 'the audit on arm64 is clean' audits /usr/bin
fact 'and on amd64' audits $native

# The other way round: what amd64 seals.
(cd /root && $native/dockseal demo >/dev/null)
demo=/root/dockseal-demo
mkdir /root/opened-{arm64,amd64}
for arch in arm64 amd64; do
  program=dockseal-authority
  [ $arch = amd64 ] && program=$native/dockseal-authority
  $program open "file://$demo/bucket" --identity /drill/authority.identity --out /root/opened-$arch
done
fact "$(find /root/opened-arm64 -type f | wc -l) clips of amd64 open on arm64" \
  test "$(find /root/opened-arm64 -type f | wc -l)" = 6
fact 'with the same bytes' diff -r /root/opened-amd64 /root/opened-arm64

# A daemon: inotify, signals and its socket.
setpriv --reuid dockseal --regid dockseal --init-groups dockseal run &
daemon=$!
fact 'a daemon answers' soon dock status --check
put 3 later
fact 'it sees three clips and stores them' soon clips erased 4
fact 'four objects are there' objects /srv/bucket 4
fact 'the log is in the bucket' soon published
kill -TERM $daemon
wait $daemon
fact 'it ends when it is told to' test $? -eq 0
fact 'the audit is clean then' audits /usr/bin
fact 'a purge removes the state of a dock that is done' dpkg -P dockseal
fact 'all of it' not test -e $state
echo "ok it took $((SECONDS - began)) s" >>"$facts"
echo "done arm64" >>"$facts"
