# Runloop in zsh 5.1 or newer: Enter asks `rlp route` where the line goes.
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
# Every name here begins with _rl_, runloop_router_ or RUNLOOP_. Plugins that wrap
# all widgets leave those alone that begin with an underscore. What zsh calls
# (widgets, hooks, runloop_router_*) starts with `emulate`; the rest relies on it.

[[ -o interactive && -o zle ]] || return 0

typeset -g _rl_version='@VERSION@'

# --- what a line is ------------------------------------------------------

# _rl_find sets REPLY to the program that a name stands for along the PATH. It
# looks at the files: the table of commands may be old, and to fill it takes
# longer than the decision.
_rl_find() {
  local dir
  for dir in "$path[@]"; do
    REPLY=${dir:-.}/$1
    if [[ -f $REPLY && -x $REPLY ]]; then return 0; fi
  done
  REPLY=
  return 1
}

# _rl_first sets flags to what only zsh knows of the first word of $1: how it
# resolves it, and whether it would change into it. It says nothing of a word
# that zsh would still expand.
_rl_first() {
  local REPLY kind=
  local -a words=("${(@z)1[1,4096]}")
  local word=$words[1]
  flags=()
  if [[ $word == '~/'* ]]; then word=$HOME/${word#'~/'}; fi
  if [[ $autocd == on && $#words -eq 1 && -d $word ]]; then flags+=(--first-dir); fi
  if (( $+aliases[$word] || $+galiases[$word] )) || [[ $word == ?*.?* && -n ${saliases[${word##*.}]-} ]]; then
    kind=alias
  else
    if [[ $word == \\* ]]; then word=${word#\\}; fi # an alias that is not wanted
    case $word in
      '' | [=~]* | *[\\\'\"\$\`]*) ;;
      */*) if [[ -f $word && -x $word ]]; then kind=command; fi ;;
      *)
        if (( $reswords[(Ie)$word] )); then kind=keyword
        elif (( $+functions[$word] )); then kind=function
        elif (( $+builtins[$word] )); then kind=builtin
        elif _rl_find $word; then kind=command
        else kind=none
        fi
        ;;
    esac
  fi
  if [[ -n $kind ]]; then flags+=(--first-kind $kind); fi
}

# _rl_route asks the router about the line $1, with flags, and sets code and
# answer. The router gives up by itself; one that does not is not waited for.
_rl_route() {
  local REPLY chunk
  local -i fd=-1 pid=0 ms=200 state=0
  local -F left end
  code= answer=
  # One that is found by way of the current folder is anybody's.
  if ! _rl_find rlp || [[ $REPLY != /* ]]; then return 0; fi
  if [[ ${RUNLOOP_ROUTER_TIMEOUT_MS-} == <1-600000> ]]; then ms=$RUNLOOP_ROUTER_TIMEOUT_MS; fi
  (( end = EPOCHREALTIME + (ms + 100) / 1000.0, 1 ))
  exec {fd}< <(
    exec 2>/dev/null
    builtin print -rn -- "$1" | $REPLY route --stdin --shell zsh $flags || builtin print -r -- $?
  )
  pid=${sysparams[procsubstpid]:-0}
  {
    while (( state == 0 && (left = end - EPOCHREALTIME) > 0 )); do
      chunk=
      sysread -t $left -i $fd chunk || state=$?
      answer+=$chunk
    done
    if (( state == 5 )); then code=${${answer%$'\n'}##*$'\n'}; fi # all of it came
  } always {
    exec {fd}<&-
    if [[ -z $code ]] && (( pid > 1 )); then
      builtin kill -- -$pid 2>/dev/null || builtin kill $pid 2>/dev/null || :
    fi
  }
}

# --- Enter ---------------------------------------------------------------

# A widget decides, and then accepts the line under the user's own options and
# through whatever others have made of accept-line. _rl_next is the widget that
# does it, or empty if the line stays where it is. _rl_depth tells one that comes
# back here: others may wrap Enter around us while we wrap them.

# _rl_accept is Enter.
_rl_accept() {
  local _rl_next=accept-line _rl_depth=$((_rl_depth + 1))
  _rl_enter
  if [[ -n $_rl_next ]]; then zle "$_rl_next"; fi
}

# _rl_agents is Enter for agents, whatever the line looks like.
_rl_agents() {
  local _rl_next=self-insert-unmeta
  _rl_forced
  if [[ -n $_rl_next ]]; then zle "$_rl_next"; fi
}

_rl_enter() {
  local code= autocd=${options[autocd]} bang=${options[banghist]} verify=${options[histverify]}
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  local asked=$_rl_asked
  _rl_asked=
  if (( _rl_depth > 1 )); then return 0; fi
  _rl_seen=1
  if (( $+widgets[${_rl_chain[$KEYMAP]-}] )); then _rl_next=$_rl_chain[$KEYMAP]; fi
  if ! _rl_at_start || ! _rl_is_on || ! _rl_unfold; then return 0; fi
  if [[ $BUFFER == [[:space:]]#@agents[[:space:]]# ]]; then
    _rl_recall
  elif [[ $BUFFER == [[:space:]]#@agents[[:space:]]* ]]; then
    _rl_force "${BUFFER#*@agents}"
  elif [[ $BUFFER == "$asked" ]]; then
    _rl_divert
  else
    _rl_decide "$BUFFER"
  fi
}

_rl_forced() {
  local code= autocd=${options[autocd]}
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  _rl_asked=
  if ! _rl_at_start || ! _rl_is_on; then return 0; fi
  _rl_force "$BUFFER"
}

# _rl_force asks the router all the same: the user's denylist comes first.
_rl_force() {
  _rl_decide ", $1"
  if [[ $code != 1[01] ]]; then
    _rl_hold 'runloop: rlp route does not answer; Ctrl-J runs the line in the shell'
  fi
}

# _rl_at_start: only a line that begins a command is looked at. At PS2, in
# select, vared and read -e CONTEXT is another.
_rl_at_start() {
  [[ $CONTEXT == start && ${ZLE_RECURSIVE:-0} -eq 0 && $BUFFER == *[^[:space:]]* ]]
}

# _rl_unfold replaces a line like !! by what it stands for, which may be a request.
# It fails if the user wants to see that first.
_rl_unfold() {
  local typed=$BUFFER
  if [[ $bang != on || $BUFFER != [\!\^]* ]]; then return 0; fi
  zle .expand-history
  if [[ $BUFFER != "$typed" && $verify == on ]]; then
    _rl_next=
    return 1
  fi
  return 0
}

# _rl_decide asks the router about $1, which stands for the line, and acts.
_rl_decide() {
  local answer
  local -a flags
  _rl_first "$1"
  _rl_route "$1"
  case $code in
    10) _rl_last=$BUFFER _rl_last_to=shell _rl_last_flags=("$flags[@]") ;;
    11) _rl_last=$BUFFER _rl_last_to=agent _rl_last_flags=("$flags[@]") ;;
    *) return 0 ;;
  esac
  if [[ $answer == *'"blocked":true'* ]]; then
    _rl_hold 'runloop: refused, the line fits router.denylist; change it, or Ctrl-C'
  elif [[ $answer == *'"confirm":true'* ]] || { [[ $code == 11 && $1 == "$BUFFER" ]] && _rl_must_ask; }; then
    _rl_asked=$BUFFER
    _rl_hold 'agents? Enter = send, Ctrl-J = run in the shell'
  elif [[ $code == 11 ]]; then
    _rl_divert
  fi
}

# _rl_must_ask: the user wants to be asked, or lines that are pasted come in as
# if each of them had been typed.
_rl_must_ask() {
  [[ -n ${RUNLOOP_CONFIRM-} && $RUNLOOP_CONFIRM != 0 ]] || (( ! $+zle_bracketed_paste ))
}

# _rl_hold shows a message and lets the line stay where it is.
_rl_hold() {
  _rl_next=
  zle -M -- "$1"
}

# _rl_divert makes the line run @agents for the text that is in it.
_rl_divert() {
  local text=${BUFFER##[[:space:]]#(@agents[[:space:]]|[,@] )[[:space:]]#}
  _rl_typed=$BUFFER
  _rl_hook_preexec
  _rl_give "$text"
  PREDISPLAY="$BUFFER  " POSTDISPLAY= BUFFER='@agents' CURSOR=7
  _rl_next=accept-line
}

# _rl_give sets what the alias gives to rlp: the text in a variable, or on a
# descriptor if it is longer than the kernel lets a variable be (execve(2):
# 128 KiB) or has a NUL in it.
_rl_give() {
  setopt local_options no_multibyte
  _rl_prompt=$1 _rl_args=(--prompt-env RLP_PROMPT)
  if (( $#1 > 100000 )) || [[ $1 == *$'\0'* ]]; then
    _rl_prompt=
    exec {_rl_fd}< <(builtin print -rn -- "{\"prompt\":\"$(_rl_json "$1")\"}" 2>/dev/null)
    _rl_args=(--params-file /dev/fd/$_rl_fd)
  fi
  if [[ -n ${RUNLOOP_ROUTER_OPENING_PATH-} ]]; then _rl_args+=("$RUNLOOP_ROUTER_OPENING_PATH"); fi
}

# _rl_json prints a text as the inside of a string of JSON.
_rl_json() {
  local text=${${1//\\/\\\\}//\"/\\\"}
  local -i n
  for n in {0..31}; do
    text=${text//${(#)n}/\\u00$(( [##16] n / 16 ))$(( [##16] n % 16 ))}
  done
  builtin print -rn -- "$text"
}

# _rl_recall: a history other than zsh's may bring back the mark alone. It gives
# the text back and sends nothing.
_rl_recall() {
  if [[ $_rl_last_to == agent ]]; then
    _rl_put_back
    _rl_hold 'runloop: this is what @agents stood for; Enter sends it again'
  else
    _rl_hold 'runloop: @agents is the mark of a request; type the request, or @agents and the request'
  fi
}

_rl_put_back() {
  BUFFER=$_rl_last CURSOR=$#_rl_last
}

# _rl_wrong is the key for "that was wrong": it tells the router about the last
# line that it decided, and gives the line back.
_rl_wrong() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  local was=shell said
  if [[ $_rl_last_to == shell ]]; then was=agent; fi
  if [[ -z $_rl_last ]]; then
    zle -M 'runloop: no line was routed yet'
    return 0
  fi
  said=$(builtin print -rn -- "$_rl_last" |
    command rlp route --was $was --shell zsh "$_rl_last_flags[@]" --stdin 2>&1)
  if [[ -z $BUFFER && $CONTEXT == start ]]; then _rl_put_back; fi
  zle -M -- "runloop: ${said#rlp: }"
}

# --- history and the prompt ----------------------------------------------

# _rl_addhistory keeps the mark out of the history.
_rl_addhistory() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  trap - ZERR
  if [[ $1 == [[:space:]]#@agents[[:space:]]# ]]; then return 1; fi
}

# _rl_hook_preexec puts our hooks where they belong: that for atuin before its own,
# and that which changes the history behind all others. Those are given a pointer
# to the line that it replaces.
_rl_hook_preexec() {
  local -a others=("${(@)preexec_functions:#_rl_(tell_atuin|remember)}")
  if (( $+functions[_atuin_preexec] )); then others=(_rl_tell_atuin "$others[@]"); fi
  preexec_functions=("$others[@]" _rl_remember)
}

# _rl_remember adds to the history what was typed, as far as the user's options and
# hooks agree. It does so this late because zsh keeps a line that was refused until
# the next one comes, and that is this.
_rl_remember() {
  local ignore_space=${options[histignorespace]}
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  if [[ -z $_rl_typed || $ignore_space == on && $_rl_typed == ' '* ]] || ! _rl_wanted "$_rl_typed"; then
    return 0
  fi
  builtin print -sr -- "$_rl_typed"
}

# _rl_wanted asks the user's own hooks, in a process of its own because they do
# to the history what they like.
_rl_wanted() {
  local hook
  for hook in zshaddhistory "${zshaddhistory_functions[@]:#_rl_addhistory}"; do
    if (( $+functions[$hook] )) && ! ( $hook "$1"$'\n' ) </dev/null &>/dev/null; then return 1; fi
  done
}

# _rl_tell_atuin: atuin keeps a history of its own and learns of a line in its
# preexec. It learns of the one that was typed, in place of the mark.
_rl_tell_atuin() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  if [[ -z $_rl_typed ]]; then return 0; fi
  _atuin_preexec "$_rl_typed" "$@[2,-1]"
  disable -f _atuin_preexec
  _rl_silenced=1
}

# _rl_precmd: a request that was not run by now never is.
_rl_precmd() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  _rl_prompt= _rl_typed= _rl_asked= _rl_args=(--prompt-env RLP_PROMPT)
  if (( _rl_fd > 0 )); then exec {_rl_fd}<&-; fi
  _rl_fd=0
  if [[ -n $_rl_silenced ]]; then enable -f _atuin_preexec; fi
  _rl_silenced=
  if [[ -z $_rl_seen ]]; then _rl_watch; fi
  _rl_seen=
}

# --- on and off ----------------------------------------------------------

# _rl_is_on: the variable works without a new shell.
_rl_is_on() {
  [[ -n $_rl_on ]] && { [[ ${RUNLOOP_ROUTER_DISABLE:-0} == 0 ]] || [[ ${RUNLOOP_ROUTER_FORCE-} == 1 ]]; }
}

# _rl_why_off sets why to the reason for which Enter is left alone here.
_rl_why_off() {
  local name
  why=
  if [[ ${RUNLOOP_ROUTER_FORCE-} == 1 ]]; then return 0; fi
  if [[ ${RUNLOOP_ROUTER_DISABLE:-0} != 0 ]]; then why='RUNLOOP_ROUTER_DISABLE is set'; return 0; fi
  if [[ ${TERM:-dumb} == dumb ]]; then why='TERM is dumb'; return 0; fi
  for name in CI GITHUB_ACTIONS GITLAB_CI BUILDKITE CIRCLECI JENKINS_URL TEAMCITY_VERSION TF_BUILD \
    MC_SID INSIDE_EMACS; do
    if [[ -n ${(P)name-} ]]; then why="$name is set"; return 0; fi
  done
}

# _rl_bound sets reply to the widgets that a key is bound to in each of _rl_maps,
# empty where it is none.
_rl_bound() {
  local map line
  reply=()
  for line in "${(@f)$(for map in $_rl_maps; do bindkey -M $map "$1" || print; done 2>/dev/null)}"; do
    line=${line##* }
    reply+=("${${line:#*\"}:#undefined-key}")
  done
}

# _rl_take binds key $1 to our widget $2 in the keymaps that follow, or all, and
# remembers what it was bound to.
_rl_take() {
  local key=$1 widget=$2 map in
  local -a maps=("$@[3,-1]") reply
  local -i i
  _rl_bound "$key"
  for (( i = 1; i <= $#_rl_maps; i++ )); do
    map=$_rl_maps[i] in=$map$key
    if (( $#maps && ! $maps[(Ie)$map] )); then continue; fi
    if [[ $reply[i] != $widget ]]; then
      _rl_before[$in]=$reply[i]
      if [[ $widget == _rl_accept && ${widgets[$reply[i]]-} == user:* ]]; then _rl_chain[$map]=$reply[i]; fi
    fi
    bindkey -M $map "$key" $widget
  done
}

# _rl_give_back undoes _rl_take, except where the key has another widget by now.
_rl_give_back() {
  local key=$1 widget=$2 map in was
  local -a reply
  local -i i
  _rl_bound "$key"
  for (( i = 1; i <= $#_rl_maps; i++ )); do
    map=$_rl_maps[i] in=$map$key was=${_rl_before[$in]-}
    if [[ $reply[i] != $widget ]]; then continue; fi
    if [[ -n $was ]]; then bindkey -M $map "$key" $was; else bindkey -M $map -r "$key"; fi
  done
}

# _rl_watch: some plugins set up their keymaps late, at the first prompt. When
# lines went past us, Enter is taken again, once in each keymap.
_rl_watch() {
  local -a reply
  local -i i
  if [[ -z $_rl_on || $_rl_keys[1] != '^M' ]]; then return 0; fi
  _rl_bound '^M'
  for (( i = 1; i <= $#_rl_maps; i++ )); do
    if [[ $reply[i] == _rl_accept ]] || (( $_rl_retaken[(Ie)$_rl_maps[i]] )); then continue; fi
    _rl_retaken+=($_rl_maps[i])
    _rl_take '^M' _rl_accept $_rl_maps[i]
  done
}

_rl_state() { export RUNLOOP_ROUTER_STATE="zsh $_rl_version $$ $1"; }

# runloop_router_on gives Enter to the router.
runloop_router_on() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  if [[ ! -o zle ]]; then return 1; fi
  _rl_keys=("${RUNLOOP_ROUTER_BINDKEY:-^M}" "${RUNLOOP_ROUTER_AGENTKEY:-^[^M}" "${RUNLOOP_ROUTER_WRONGKEY:-^X^W}")
  _rl_take "$_rl_keys[1]" _rl_accept
  # In vi's keymaps Escape and Enter are two keys in quick succession.
  local -a maps=(emacs)
  if [[ -n ${RUNLOOP_ROUTER_AGENTKEY-} ]]; then maps=(); fi
  _rl_take "$_rl_keys[2]" _rl_agents $maps
  _rl_take "$_rl_keys[3]" _rl_wrong
  _rl_on=1
  _rl_state on
}

# runloop_router_off gives Enter back to zsh.
runloop_router_off() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  if [[ -n $_rl_on ]]; then
    _rl_give_back "$_rl_keys[1]" _rl_accept
    _rl_give_back "$_rl_keys[2]" _rl_agents
    _rl_give_back "$_rl_keys[3]" _rl_wrong
  fi
  _rl_on=
  _rl_state 'off runloop_router_off'
}

# runloop_router_status says how it is.
runloop_router_status() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  local REPLY
  if _rl_is_on; then
    print -r -- "runloop $_rl_version in zsh $ZSH_VERSION: on"
  elif [[ -n $_rl_on ]]; then
    print -r -- "runloop $_rl_version in zsh $ZSH_VERSION: off (RUNLOOP_ROUTER_DISABLE is set)"
  else
    print -r -- "runloop $_rl_version in zsh $ZSH_VERSION: off (${RUNLOOP_ROUTER_STATE#* off })"
  fi
  if (( $#_rl_retaken )); then print -r -- 'Enter was taken back from a plugin'; fi
  if ! _rl_find rlp || [[ $REPLY != /* ]]; then print -r -- 'rlp is not on the PATH, so each line runs in the shell'; fi
}

# --- loading -------------------------------------------------------------

_rl_load() {
  emulate -L zsh -o extended_glob -o no_aliases -o no_xtrace -o no_err_exit -o no_err_return
  local why
  if [[ $ZSH_VERSION == [0-4].* || $ZSH_VERSION == 5.0* ]] ||
    ! zmodload zsh/parameter zsh/system zsh/datetime zsh/zleparameter; then
    print -r -- "runloop: zsh $ZSH_VERSION lacks something, 5.1 with its modules is needed; Enter is left alone" >&2
    return 0
  fi
  typeset -g _rl_on= _rl_seen= _rl_asked= _rl_typed= _rl_prompt= _rl_silenced=
  typeset -g _rl_last= _rl_last_to=
  typeset -gi _rl_depth=0 _rl_fd=0
  typeset -ga _rl_args=(--prompt-env RLP_PROMPT) _rl_last_flags=() _rl_retaken=() _rl_keys=()
  typeset -ga _rl_maps=(main emacs viins vicmd)
  typeset -gA _rl_before _rl_chain
  # The alias is what runs; a function of the same name is there for unalias -a.
  aliases[@agents]='RLP_PROMPT="$_rl_prompt" \command rlp run "${_rl_args[@]}"'
  functions[@agents]=$aliases[@agents]
  zle -N _rl_accept
  zle -N _rl_agents
  zle -N _rl_wrong
  typeset -ga zshaddhistory_functions preexec_functions precmd_functions
  zshaddhistory_functions=(_rl_addhistory "${zshaddhistory_functions[@]:#_rl_addhistory}")
  precmd_functions=(_rl_precmd "${precmd_functions[@]:#_rl_precmd}")
  _rl_why_off
  if [[ -n $why ]]; then
    _rl_state "off $why"
  else
    runloop_router_on
  fi
}

_rl_load
