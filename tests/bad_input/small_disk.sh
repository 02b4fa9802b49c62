# small_disk.sh SIZE BALLAST COMMAND...
#
# Run COMMAND with a disk of SIZE at ./small, of which BALLAST is taken already, and keep what it wrote there in ./kept. Needs a
# mount namespace of its own, with which the disk goes away: unshare --mount sh small_disk.sh ...
set -eu
size=$1 ballast=$2
shift 2
mount -t tmpfs -o "size=$size" tmpfs small
head -c "$ballast" /dev/zero > small/ballast
code=0
"$@" || code=$?
rm small/ballast
cp -R small/. kept/
exit "$code"
