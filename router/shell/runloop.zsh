# Runloop in zsh 5.3 or newer: Enter asks `rlp route` where the line goes.
#
#     eval "$(rlp shell init zsh)"         # or: rlp shell enable
#
# The hook of Enter only decides. A request stays on the screen as it was typed,
# with a mark behind it,
#
#     % what is eating my disk?  @agents
#
# and what zsh runs is the mark alone: an alias for `rlp run`, an ordinary
# foreground command, so $?, Ctrl-C, Ctrl-Z, jobs and history are zsh's own.
# Only exit code 11 of `rlp route` diverts a line; whatever else happens, zsh
# runs what was typed. Nothing that was typed is ever evaluated here.
#
# Every name here begins with _rl_, runloop_router_ or RUNLOOP_. Plugins that
# wrap all widgets leave those alone that begin with an underscore. A widget runs
# under the user's options and says little; what it calls sets its own.

typeset -g _rl_version='@VERSION@'

# --- what a line is ------------------------------------------------------

# _rl_find sets REPLY to the program that a name stands for along the PATH. It
# looks at the files: the table of commands may be old, and to fill it takes
# longer than the decision.
_rl_find() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  local dir
  for dir in $path; do
    REPLY=$dir/$1
    [[ -f $REPLY && -x $REPLY ]] && return 0
  done
  REPLY=
  return 1
}

# _rl_first sets kind to how zsh resolves the first word of $1, and dir if zsh
# would change into it. A word that zsh would still expand leaves kind empty.
_rl_first() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  local REPLY
  local -a words=(${(z)${1[1,4096]}})
  local word=${words[1]-}
  [[ $word == '~/'* ]] && word=$HOME/${word#'~/'}
  if [[ -n $_rl_autocd && $#words -eq 1 && -d $word ]]; then
    dir=1
  fi
  if (( $+aliases[$word] || $+galiases[$word] )) || [[ $word == *.* && -n ${saliases[${word##*.}]-} ]]; then
    kind=alias
    return 0
  fi
  [[ $word == \\* ]] && word=${word#\\} # an alias that is not wanted
  if [[ -z $word || $word == *[\\\'\"\$\`]* ]]; then
    return 0
  elif (( $reswords[(Ie)$word] )); then
    kind=keyword
  elif (( $+functions[$word] )); then
    kind=function
  elif (( $+builtins[$word] )); then
    kind=builtin
  elif [[ $word == */* ]]; then
    [[ -f $word && -x $word ]] && kind=command
  elif _rl_find $word; then
    kind=command
  else
    kind=none
  fi
  return 0
}

# _rl_route asks the router about $1 and sets code and answer. The router gives
# up by itself; one that does not is left behind.
_rl_route() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  local kind= dir= REPLY chunk rlp
  local -i fd=-1 pid=0 ms=200 state=0
  local -F left end
  code= answer=
  _rl_find rlp || return 0
  rlp=$REPLY
  _rl_first "$1"
  [[ ${RUNLOOP_ROUTER_TIMEOUT_MS-} == <1-600000> ]] && ms=$RUNLOOP_ROUTER_TIMEOUT_MS
  (( end = EPOCHREALTIME + (ms + 100) / 1000.0 ))
  exec {fd}< <(
    exec 2>/dev/null
    builtin print -rn -- "$1" |
      $rlp route --stdin --shell zsh ${kind:+--first-kind} $kind ${dir:+--first-dir}
    builtin print -r -- $?
  )
  pid=${sysparams[procsubstpid]:-0}
  {
    while (( state == 0 && (left = end - EPOCHREALTIME) > 0 )); do
      chunk=
      sysread -t $left -i $fd chunk
      state=$?
      answer+=$chunk
    done
    (( state == 5 )) && code=${${answer%$'\n'}##*$'\n'} # all of it came
  } always {
    exec {fd}<&-
    [[ -n $code ]] || (( pid <= 0 )) || builtin kill $pid 2>/dev/null
  }
}

# --- Enter ---------------------------------------------------------------

# _rl_decide asks about $2, which stands for the line $1, and sets next to what
# becomes of the line: accept (as it stands), divert, or stay.
_rl_decide() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  local code answer
  next=accept
  _rl_route "$2"
  case $code in
    10) _rl_last=$1 _rl_last_to=shell ;;
    11) _rl_last=$1 _rl_last_to=agent ;;
    *) return 0 ;;
  esac
  (( code == 11 )) && next=divert
  return 0
}

# _rl_divert makes the line run @agents for the text that is in it.
_rl_divert() {
  emulate -L zsh
  setopt no_err_exit no_err_return extended_glob
  _rl_orig=$BUFFER
  _rl_prompt=${BUFFER##[[:space:]]#[,@][[:space:]]##}
  PREDISPLAY="$BUFFER  " BUFFER='@agents'
  CURSOR=$#BUFFER
}

# _rl_accept is Enter. It decides only about a line that begins a command: at
# PS2, in select, vared and read -e CONTEXT is another.
_rl_accept() {
  local next=accept _rl_autocd=
  if [[ -o autocd ]]; then _rl_autocd=1; fi
  if [[ $CONTEXT == start && $BUFFER == *[^[:space:]]* ]]; then
    _rl_decide "$BUFFER" "$BUFFER"
  fi
  if [[ $next == divert ]]; then _rl_divert; fi
  if [[ $next != stay ]]; then zle accept-line; fi
}

# --- history and the prompt ----------------------------------------------

_rl_addhistory() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  [[ -z $_rl_prompt || ${1%$'\n'} != '@agents' ]]
}

_rl_preexec() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  [[ -z $_rl_prompt || $1 != '@agents' ]] || print -sr -- "$_rl_orig"
  return 0
}

_rl_precmd() {
  _rl_prompt=
}

runloop_router_on() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  local map
  zle -N _rl_accept
  for map in emacs viins vicmd; do
    bindkey -M $map '^M' _rl_accept
  done
}

_rl_load() {
  emulate -L zsh
  setopt no_err_exit no_err_return
  zmodload zsh/parameter zsh/system zsh/datetime || return 0
  typeset -g _rl_prompt= _rl_orig= _rl_last= _rl_last_to=
  typeset -ga zshaddhistory_functions preexec_functions precmd_functions
  zshaddhistory_functions=(_rl_addhistory ${zshaddhistory_functions:#_rl_addhistory})
  preexec_functions=(_rl_preexec ${preexec_functions:#_rl_preexec})
  precmd_functions=(_rl_precmd ${precmd_functions:#_rl_precmd})
  aliases[@agents]='RLP_PROMPT="$_rl_prompt" command rlp run --prompt-env RLP_PROMPT ${RUNLOOP_ROUTER_OPENING_PATH:+"$RUNLOOP_ROUTER_OPENING_PATH"}'
  functions[@agents]=$aliases[@agents]
  runloop_router_on
}

if [[ -o interactive && -o zle ]]; then
  _rl_load
fi
