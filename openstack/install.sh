#!/bin/sh
# Installs the worker from this checkout into /opt/rollcall. Run it as root; run it again to update the worker.
# The worker starts only if /etc/rollcall/worker.env exists. That file should be readable only by root.
set -eu

here=$(dirname "$(readlink -f "$0")")
if command -v apt-get >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'

python3 -m venv /opt/rollcall/venv
# pip accepts only files whose hashes are in the list, whatever the package index offers.
/opt/rollcall/venv/bin/pip install --quiet --no-deps --require-hashes -r "$here/requirements-worker.txt"
install -d -m 700 /etc/rollcall
install -m 644 "$here/rollcall-worker.service" /etc/systemd/system/
ln -sfn "$(dirname "$here")" /opt/rollcall/current
# --help imports all modules, so a missing package is noticed here, not at the first event.
/opt/rollcall/venv/bin/python /opt/rollcall/current/openstack_handler.py --help >/dev/null
systemctl daemon-reload
systemctl enable rollcall-worker.service
systemctl restart rollcall-worker.service
