#!/bin/sh
# Checks for what pip cannot install, and installs it by apt where it may: `system.sh PYTHON`.
# Each line of the list: a command that succeeds where the thing is there, the Debian package.
set -eu
python=$1

has_library() { ldconfig -p 2>/dev/null | grep -q "$1"; }
has_header() {
    "$python" -c "import sysconfig, pathlib, sys
sys.exit(not (pathlib.Path(sysconfig.get_path('include')) / 'Python.h').exists())"
}

missing=
need() {  # need PACKAGE COMMAND...
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
if command -v "$python" >/dev/null; then
    name=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
        echo "Python 3.10 to 3.13 is needed, $python is $name: name another, make setup PYTHON=..." >&2
        exit 1
    }
    need "$name-venv" "$python" -c 'import venv, ensurepip'
    need "$name-dev" has_header
else
    missing=" $python $python-venv $python-dev"
fi
need g++ command -v g++
need cmake command -v cmake
need libgl1 has_library libGL.so.1
need "libegl1 libgl1-mesa-dri" has_library libEGL.so.1  # draws faces without a display
need libxrender1 has_library libXrender.so.1

[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "Please install what these Debian packages hold, then run make setup again:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then sudo=
elif sudo -n true 2>/dev/null; then sudo=sudo
else
    echo "Please run this, then make setup again: sudo apt-get install$missing" >&2
    exit 1
fi
echo "      apt-get install$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
