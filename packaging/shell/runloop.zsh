# For ~/.zshrc:  . PREFIX/share/runloop/shell/runloop.zsh
#
# It loads the integration out of the rlp on the PATH, and does nothing where there
# is none. `rlp shell enable` needs no such file. See docs/shell.md for
# RUNLOOP_ROUTER_OPENING_PATH, RUNLOOP_ROUTER_BINDKEY and the rest.
if [[ $- == *i* ]] && command -v rlp >/dev/null 2>&1; then
  eval "$(command rlp shell init zsh 2>/dev/null)"
fi
