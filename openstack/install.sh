#!/bin/sh
# Installs the worker from this checkout, as root, into /opt/rollcall; doing so again updates it.
# It starts once its settings are there: /etc/rollcall/worker.env, readable by root alone.
set -eu

here=$(dirname "$(readlink -f "$0")")
if command -v apt-get >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'

python3 -m venv /opt/rollcall/venv
# Exactly the files whose hashes are in the list: what else an index offers is refused.
/opt/rollcall/venv/bin/pip install --quiet --no-deps --require-hashes -r "$here/requirements-worker.txt"
install -d -m 700 /etc/rollcall
install -m 644 "$here/rollcall-worker.service" /etc/systemd/system/
ln -sfn "$(dirname "$here")" /opt/rollcall/current
# Imports everything, so that a missing package stops it here and not at the first event.
/opt/rollcall/venv/bin/python /opt/rollcall/current/openstack_handler.py --help >/dev/null
systemctl daemon-reload
systemctl enable rollcall-worker.service
systemctl restart rollcall-worker.service
