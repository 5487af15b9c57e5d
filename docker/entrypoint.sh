#!/bin/sh
# ROS, the workspace and its virtual environment, then what was asked for.
set -e
. "/opt/ros/$ROS_DISTRO/setup.sh"
. /opt/contextface/install/setup.sh
. /opt/contextface/venv/bin/activate
exec "$@"
