#!/bin/sh
# Installs Chromium by apt for the tests of the page, where it is not there and that may be done.
# It is not needed otherwise, so nothing here is an error.
set -eu
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
skip() {
    echo "      no Chromium: $1; the tests that need a browser will be skipped" >&2
    exit 0
}
command -v apt-get >/dev/null || skip "there is no apt-get"
if [ "$(id -u)" = 0 ]; then sudo=
elif sudo -n true 2>/dev/null; then sudo=sudo
else skip "run sudo apt-get install chromium"
fi
echo "      apt-get install chromium"
$sudo apt-get update -qq || skip "the package lists cannot be had"
# Ubuntu has it as a snap alone, which does not run everywhere.
apt-cache show chromium >/dev/null 2>&1 || skip "apt has no package of it"
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends chromium \
    >/dev/null || skip "apt-get failed"
