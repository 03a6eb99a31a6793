# Sourced by every script in bin/: sets $root and $venv, and `need_venv EXTRA` makes .venv fit to use.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
venv=$root/.venv
unset PYTHONHOME

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate found=""
    if [ -z "${PYTHON:-}" ] && is_new_enough "$venv/bin/python"; then
        echo "$venv/bin/python"
        return
    fi
    for candidate in ${PYTHON:+"$PYTHON"} ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
        found=${found:-$("$candidate" -c 'import platform, sys; print(platform.python_version(), "at", sys.executable)' 2>/dev/null || true)}
    done
    echo "Postbox needs Python 3.11 or newer and found ${found:-none}: install one, or set PYTHON to its path" >&2
    return 1
}

need_venv() {
    local python
    python=$(find_python) || exit 1
    "$python" "$root/bin/.venv.py" "$@" || exit $?
}
