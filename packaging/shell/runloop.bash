# For ~/.bashrc:  . PREFIX/share/runloop/shell/runloop.bash
#
# It loads the integration out of the rlp on the PATH, and does nothing where there
# is none. `rlp shell enable` needs no such file. See docs/shell.md for
# RUNLOOP_ROUTER_OPENING_PATH, RUNLOOP_ROUTER_BINDKEY and the rest.
if [[ $- == *i* ]] && command -v rlp >/dev/null 2>&1; then
  eval "$(command rlp shell init bash 2>/dev/null)"
fi
