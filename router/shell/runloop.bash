# Runloop in bash 4.3 or newer: Enter asks `rlp route` where the line goes.
#
#     eval "$(rlp shell init bash)"        # or: rlp shell enable
#
# The hook of Enter only decides. A request becomes the line
#
#     @agents # what was typed
#
# which bash runs like any other: @agents is an alias for `rlp run`, an ordinary
# foreground command, so $?, Ctrl-C, Ctrl-Z, jobs and history are bash's own.
# Only exit code 11 of `rlp route` diverts a line; whatever else happens, bash
# runs what was typed. Nothing that was typed is ever evaluated here.
#
# Readline has no way to call a function and then accept the line, but a key may
# stand for a string of other keys. So Enter stands for two private sequences:
# one calls the decision, the next accepts what is in the line by then.
#
# Every name here begins with _rl_, runloop_router_ or RUNLOOP_.

# No alias of the user's changes what is read here. What is in $() and <() is read
# again when it runs, so there the first word is quoted.
_rl_aliases=
\shopt -q expand_aliases && _rl_aliases=1 && \shopt -u expand_aliases

_rl_version='@VERSION@'
_rl_bash=$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1]))

# --- what a line is ------------------------------------------------------

# _rl_first sets flags to what bash knows of the first word of $1, for rlp route:
# how bash resolves it, and whether bash would change into it. A word that bash
# would still expand is left to the router.
_rl_first() {
  local word=${1#"${1%%[![:space:]]*}"} kind
  flags=(--shell bash)
  word=${word%%[[:space:]]*}
  [[ $word != '~/'* ]] || word=${HOME-}/${word#'~/'}
  if shopt -q autocd && [[ -d $word ]]; then flags+=(--first-dir); fi
  case $word in \'* | *[\\\$\`\"]*) return ;; esac
  word=${word%%[;|&()<>]*}
  [[ $word ]] || return
  kind=$(\builtin type -t -- "$word")
  case $kind in
    file) kind=command ;;
    '') kind=none ;;
  esac
  flags+=(--first-kind "$kind")
}

# _rl_route prints the exit code of `rlp route` for the line $1, and its answer.
# It runs in a subshell, so that neither $! nor a trap of the user changes. The
# router gives up by itself; one that does not even start is not waited for.
_rl_route() {
  local IFS=$' \t\n' json='' rest='' code=1 ms seconds router pid
  local -a flags
  _rl_first "$1"
  ms=${RUNLOOP_ROUTER_TIMEOUT_MS:-200}
  [[ $ms != *[!0-9]* && ${#ms} -le 6 ]] || ms=200
  ms=$((10#$ms + 100))
  builtin printf -v seconds '%d.%03d' $((ms / 1000)) $((ms % 1000))
  if ((_rl_bash >= 404)); then
    exec {router}< <(\exec rlp route --stdin "${flags[@]}" < <(\builtin printf '%s' "$1"))
  else # which cannot wait for it
    exec {router}< <(
      rlp route --stdin "${flags[@]}" < <(\builtin printf '%s' "$1")
      \builtin printf '%s' "$?"
    )
  fi
  pid=$!
  trap 'kill "$pid"; exit 130' INT TERM HUP
  builtin read -r -t "$seconds" -u "$router" json
  # Its end comes with the end of what it says.
  if [[ $json ]] && { builtin read -r -t "$seconds" -u "$router" rest; (($? == 1)); }; then
    if ((_rl_bash >= 404)); then
      wait "$pid"
      code=$?
    else
      code=$rest
    fi
  else
    kill "$pid"
  fi
  builtin printf '%s %s' "$code" "$json"
}

# --- Enter ---------------------------------------------------------------

# What bind -x calls is a simple command: inside a here-document or an open quote
# bash knows no reserved words, not even {. Its argument gives $_ back its value,
# and behind || neither set -e nor a trap on ERR sees a status.
_rl_key_enter() { _rl_enter || return 0; } 2>/dev/null
_rl_key_agents() { _rl_forced || return 0; } 2>/dev/null
_rl_key_raw() { _rl_raw || return 0; } 2>/dev/null
_rl_key_wrong() { _rl_wrong || return 0; } 2>/dev/null

# _rl_at_start reports whether the line is the first of a command, which it is
# once for each PS1. Lines of PS2, of a here-document, of `read -e` and of select
# come after the first, and no prompt is between. It undoes _rl_hold.
_rl_at_start() {
  local first=$_rl_at_ps1
  _rl_release
  _rl_at_ps1= _rl_ahead=
  _rl_hook
  if _rl_comes_back; then _rl_at_ps1=$first; fi
  [[ $first && $READLINE_LINE == *[![:space:]]* ]] && _rl_is_on
}

# _rl_comes_back reports whether history expansion will refuse the line, or hand
# it back to be looked at (histverify). Then no PS1 comes before the next one.
# history -p removes an entry of the history that it is asked in.
_rl_comes_back() {
  local chars=${histchars-!^} expanded
  [[ $- == *H* && ${#chars} -ge 2 && $READLINE_LINE == *["${chars:0:2}"]* ]] || return
  expanded=$(\builtin history -p -- "$READLINE_LINE" 2>/dev/null) || return 0
  shopt -q histverify && [[ $expanded != "$READLINE_LINE" ]]
}

# _rl_enter is Enter.
_rl_enter() {
  local asked=$_rl_asked
  _rl_asked=
  if ! _rl_at_start; then return; fi
  if [[ $READLINE_LINE =~ ^[[:space:]]*@agents[[:space:]]*$ ]]; then
    _rl_recall
  elif [[ $READLINE_LINE =~ ^[[:space:]]*@agents[[:space:]] ]]; then
    _rl_force
  elif [[ $READLINE_LINE == "$asked" ]]; then
    _rl_divert
  elif [[ $READLINE_LINE == '!!' && $- == *H* && $_rl_last_to == agent && $_rl_last_is_newest ]]; then
    READLINE_LINE=$_rl_last # bash would run the text
    _rl_force
  else
    _rl_decide "$READLINE_LINE"
  fi
}

# _rl_forced is Enter for agents, whatever the line looks like.
_rl_forced() {
  _rl_asked=
  if _rl_at_start; then _rl_force; fi
}

# _rl_raw is Ctrl-J: the line is bash's, and what follows it is not a first line.
# But to a line that was typed before its prompt came, the terminal has put a
# Ctrl-J in the place of Enter.
_rl_raw() {
  if [[ $_rl_ahead ]]; then
    _rl_enter
    return
  fi
  _rl_asked= _rl_last_is_newest=
  _rl_at_start
}

# _rl_force asks the router all the same: the user's denylist comes first.
_rl_force() {
  _rl_decide ", $READLINE_LINE"
  case $_rl_code in
    11) ;;
    10) [[ $_rl_held ]] || _rl_hold 'runloop: rlp route keeps this from agents; Ctrl-J runs the line in the shell' ;;
    *) _rl_hold 'runloop: rlp route does not answer; Ctrl-J runs the line in the shell' ;;
  esac
}

# _rl_decide asks the router about $1, which stands for the line, and acts.
_rl_decide() {
  local answer
  _rl_code= _rl_last_is_newest=
  # One that is found by way of the current folder is anybody's.
  builtin hash rlp && [[ ${BASH_CMDS[rlp]-} == /* ]] || return
  answer=$(_rl_route "$1")
  _rl_code=${answer%% *} answer=${answer#* }
  case $_rl_code in
    10) _rl_last=$READLINE_LINE _rl_last_to=shell _rl_last_is_newest=1 ;;
    11) _rl_last=$READLINE_LINE _rl_last_to=agent _rl_last_is_newest=1 ;;
    126 | 127)
      builtin hash -d rlp # it may have moved
      return
      ;;
    *) return ;;
  esac
  if [[ $answer == *'"blocked":true'* ]]; then
    _rl_hold 'runloop: refused, the line fits router.denylist; change it, or Ctrl-C'
  elif [[ $answer == *'"confirm":true'* ]] || { [[ $_rl_code == 11 && $1 == "$READLINE_LINE" ]] && _rl_must_ask; }; then
    _rl_asked=$READLINE_LINE
    _rl_hold 'agents? Enter = send, Ctrl-J = run in the shell'
  elif [[ $_rl_code == 11 ]]; then
    _rl_divert
  fi
}

# _rl_must_ask: the user wants to be asked; or says nothing, and lines that are
# pasted come in as if each of them had been typed.
_rl_must_ask() {
  [[ -z ${RUNLOOP_CONFIRM-} ]] || { [[ $RUNLOOP_CONFIRM != 0 ]]; return; }
  [[ ! $_rl_ble && $(\bind -v) != *'enable-bracketed-paste on'* ]]
}

# _rl_divert makes the line run @agents for the text that is in it, which is
# remembered as it was typed.
_rl_divert() {
  local text=$READLINE_LINE typed=$READLINE_LINE next=@agents more
  local prefix='^[[:space:]]*(@agents[[:space:]]+(# )?|[,@] )[[:space:]]*'
  if [[ $text =~ $prefix ]]; then text=${text:${#BASH_REMATCH[0]}}; fi
  if ! _rl_give "$text"; then
    _rl_hold 'runloop: there is no room for so long a text; put it in a file and name the file'
    return
  fi
  # Behind # the text is a comment, even for history expansion.
  if shopt -q interactive_comments && [[ ${histchars-!^#} == ??'#' ]]; then
    next+=" # ${text%%$'\n'*}" more=${text//$'\n'/}
    ((${#next} <= 1000)) || next=${next:0:1000}…
    more=$((${#text} - ${#more}))
    ((more == 0)) || next+=" … +$more lines"
  fi
  READLINE_LINE=$next READLINE_POINT=0 # once: bash 4.4 loses what is appended to it
  _rl_remember "$typed"
}

# _rl_give sets what the alias gives to rlp: the text in a variable, or on a
# descriptor if it may be longer than the kernel lets a variable be (execve(2):
# 128 KiB).
_rl_give() {
  _rl_prompt=$1
  ((${#1} > 30000)) || return 0
  exec {_rl_fd}<<<"{\"prompt\":\"$(_rl_json "$1")\"}" || return
  _rl_prompt= _rl_from=--params-file=/dev/fd/$_rl_fd
}

# _rl_json prints a text as the inside of a string of JSON.
_rl_json() {
  local text=${1//\\/\\\\} n code char
  text=${text//\"/\\\"}
  for n in {1..31}; do
    builtin printf -v code '%02x' "$n"
    builtin printf -v char '%b' "\\x$code"
    text=${text//"$char"/"\\u00$code"}
  done
  builtin printf '%s' "$text"
}

# _rl_remember adds a line to the history, as far as HISTCONTROL and HISTIGNORE
# agree, and sees to it that the line with @agents is not added, which nobody can
# where HISTIGNORE is readonly.
_rl_remember() {
  [[ :${HISTIGNORE-}: == *':@agents:@agents # *:'* ]] || _rl_readonly HISTIGNORE ||
    HISTIGNORE=${HISTIGNORE:+$HISTIGNORE:}'@agents:@agents # *'
  [[ :$SHELLOPTS: == *:history:* ]] || return 0
  if [[ $_rl_ble ]]; then
    ble/history/add "$1"
  else
    builtin history -s -- "$1"
  fi
}

# _rl_recall: a history other than bash's may bring back the mark alone. It gives
# the text back and sends nothing.
_rl_recall() {
  if [[ $_rl_last_to == agent ]]; then
    _rl_put_back
    _rl_hold 'runloop: this is what @agents stood for; Enter sends it again'
  else
    _rl_hold 'runloop: @agents is the mark of a request; type the request, or @agents and the request'
  fi
}

# _rl_readonly reports whether a variable is. To assign to one ends all that bash
# is about to do.
_rl_readonly() {
  local how='^declare -[a-zA-Z]*r'
  [[ $(\builtin declare -p "$1" 2>/dev/null) =~ $how ]]
}

_rl_put_back() {
  READLINE_LINE=$_rl_last READLINE_POINT=${#_rl_last}
}

# _rl_hold shows a message and lets the line stay where it is: the sequence that
# would accept it does nothing, once.
_rl_hold() {
  _rl_say "$1"
  [[ $_rl_ble ]] || _rl_bind_accept '""'
  _rl_held=1 _rl_at_ps1=1
}

_rl_release() {
  [[ $_rl_held ]] || return 0
  _rl_held=
  [[ $_rl_ble ]] || _rl_bind_accept accept-line
}

_rl_say() {
  if [[ $_rl_ble ]]; then
    ble/edit/info/show text "$1"
  else
    builtin printf '%s\n' "$1" >/dev/tty
  fi
}

_rl_bind_accept() {
  local map
  for map in emacs-standard vi-insert vi-command; do
    bind -m "$map" "\"\\C-x\\C-_R2\\a\": $1"
  done
}

# _rl_wrong is the key for "that was wrong": it tells the router about the last
# line that it decided, and gives the line back.
_rl_wrong() {
  local was=shell said
  local -a flags
  [[ $_rl_last_to != shell ]] || was=agent
  if [[ -z $_rl_last ]]; then
    said='no line was routed yet'
  else
    _rl_first "$_rl_last"
    said=$(\builtin printf '%s' "$_rl_last" | \command rlp route --was "$was" "${flags[@]}" --stdin 2>&1)
    if [[ $_rl_at_ps1 && -z $READLINE_LINE ]]; then _rl_put_back; fi
  fi
  _rl_say "runloop: ${said#rlp: }"
}

# --- the prompt ----------------------------------------------------------

# _rl_ps1 runs before each PS1, and after Ctrl-C. A request that was not run by
# now never is.
_rl_ps1() {
  _rl_at_ps1=1 _rl_ahead= _rl_prompt= _rl_from= _rl_asked=
  _rl_release
  if [[ $_rl_fd ]]; then exec {_rl_fd}<&- && _rl_fd=; fi
  if builtin read -t 0; then _rl_ahead=1; fi # a whole line waits already
  if [[ ${BLE_ATTACHED-} && ! $_rl_ble && $_rl_on ]]; then _rl_ble_late; fi
  # What is chosen in atuin's list and run at once goes through Enter, too.
  if [[ ${__atuin_macro_accept_line-} == accept-line && $_rl_on && ! $_rl_ble ]]; then
    __atuin_macro_accept_line='"\C-x\C-_R1\a\C-x\C-_R2\a"'
  fi
} 2>/dev/null

# _rl_hook sees to it that _rl_ps1 runs, again if someone took it out. With
# bash-preexec it must be one of its functions, or the first command after is
# lost to those that wait for it.
_rl_hook() {
  local IFS=' ' run='${_rl_run_ps1-}'
  case "${PROMPT_COMMAND[*]-}" in
    *_rl_ps1*) return ;;
    *__bp_*)
      [[ " ${precmd_functions[*]-} " == *' _rl_ps1 '* ]] || precmd_functions+=(_rl_ps1)
      return
      ;;
  esac
  if ((_rl_bash >= 501)); then
    PROMPT_COMMAND+=(_rl_ps1)
  elif [[ ${PROMPT_COMMAND-} != *"$run" ]]; then
    # Here all are one command, so that those behind it would see its status. In
    # a shell that inherits the variable the name is empty.
    PROMPT_COMMAND=${PROMPT_COMMAND//$'\n'"$run"/}
    PROMPT_COMMAND=${PROMPT_COMMAND:+$PROMPT_COMMAND$'\n'}$run
    _rl_run_ps1=_rl_ps1
  fi
}

# --- ble.sh --------------------------------------------------------------

# ble.sh takes the place of readline: an editor written in bash, with functions
# for keys, which may be given advice. It reads whole commands by itself, so
# there is no PS2, and Return in an unfinished one is a new line.

_rl_ble_load() {
  _rl_ble=1
  function ble/widget/runloop-agents {
    _rl_ble_line _rl_forced
    [[ $_rl_held ]] || ble/widget/accept-line
  }
  function ble/widget/runloop-wrong { _rl_ble_line _rl_wrong; }
  ble/function#advice around ble/widget/default/accept-single-line-or _rl_ble_enter
  blehook/eval-after-load keymap_vi 'ble/function#advice around ble/widget/vi_imap/accept-single-line-or _rl_ble_enter'
  blehook/eval-after-load keymap_emacs _rl_ble_keys
}

# _rl_ble_late is for a ble.sh that was loaded behind us: it has taken over what
# readline's keys stood for, and gets its own functions back.
_rl_ble_late() {
  _rl_ble_load
  blehook/eval-after-load keymap_emacs '_rl_ble_return emacs accept-single-line-or-newline'
  blehook/eval-after-load keymap_vi '_rl_ble_return vi_imap accept-single-line-or-newline'
  blehook/eval-after-load keymap_vi '_rl_ble_return vi_nmap "accept-single-line-or vi-command/forward-first-non-space"'
}

_rl_ble_return() {
  ble-bind -m "$1" -f C-m "$2"
  ble-bind -m "$1" -f RET "$2"
  ble-bind -m "$1" -f C-j accept-line
}

_rl_ble_keys() {
  local seq
  ble-bind -m emacs -f 'C-x C-_ R 3 C-g' runloop-agents
  ble-bind -m emacs -f 'C-x C-_ R 5 C-g' runloop-wrong
  _rl_keyseq "${RUNLOOP_ROUTER_AGENTKEY:-^[^M}"
  bind -m emacs "\"$seq\": \"\\C-x\\C-_R3\\a\""
  _rl_keyseq "${RUNLOOP_ROUTER_WRONGKEY:-^X^W}"
  bind -m emacs "\"$seq\": \"\\C-x\\C-_R5\\a\""
}

# _rl_ble_enter is the advice around Return. Behind it nothing may be waiting:
# ble.sh reads on before it runs what was accepted.
_rl_ble_enter() {
  if ble/decode/has-input; then
    ble/function#advice/do
    return
  fi
  _rl_ble_line _rl_enter
  if [[ $_rl_prompt$_rl_from ]]; then
    ble/widget/accept-line
  elif [[ ! $_rl_held ]]; then
    ble/function#advice/do
  fi
}

# _rl_ble_line calls $1, which knows readline's variables, for the line.
_rl_ble_line() {
  local READLINE_LINE=$_ble_edit_str READLINE_POINT=$_ble_edit_ind
  _rl_at_ps1=1
  "$1"
  if [[ $READLINE_LINE != "$_ble_edit_str" ]]; then
    ble-edit/content/reset-and-check-dirty "$READLINE_LINE"
    _ble_edit_ind=$READLINE_POINT
  fi
} 2>/dev/null

# --- on and off ----------------------------------------------------------

# _rl_is_on: the variable works without a new shell.
_rl_is_on() {
  [[ $_rl_on ]] || return
  case ${RUNLOOP_ROUTER_DISABLE-} in '' | 0) return 0 ;; esac
  [[ ${RUNLOOP_ROUTER_FORCE-} == 1 ]]
}

# _rl_why_off sets why to the reason for which Enter is left alone here.
_rl_why_off() {
  local name
  why=
  if [[ -n ${BASH_EXECUTION_STRING+x} ]] || ! { shopt -qo emacs || shopt -qo vi; }; then
    why='the shell has no line editing'
    return
  fi
  if [[ ${PROMPT_COMMAND[*]-} != *__bp_precmd_invoke_cmd* ]] && _rl_readonly PROMPT_COMMAND; then
    why='PROMPT_COMMAND is readonly'
    return
  fi
  [[ ${RUNLOOP_ROUTER_FORCE-} != 1 ]] || return 0
  case ${RUNLOOP_ROUTER_DISABLE-} in '' | 0) ;; *) why='RUNLOOP_ROUTER_DISABLE is set'; return ;; esac
  case ${TERM-} in '' | dumb) why='TERM is dumb'; return ;; esac
  for name in CI GITHUB_ACTIONS GITLAB_CI BUILDKITE CIRCLECI JENKINS_URL TEAMCITY_VERSION TF_BUILD \
    MC_SID INSIDE_EMACS; do
    if [[ ${!name-} ]]; then why="$name is set"; return; fi
  done
}

# _rl_keyseq turns a key in either spelling, ^M or \C-m, into readline's.
_rl_keyseq() {
  local in=$1 c
  seq=
  while [[ $in ]]; do
    c=${in:0:2}
    case $in in
      '^['*) seq+='\e' in=${in:2} ;;
      '^'?*) seq+="\\C-${c:1}" in=${in:2} ;;
      '"'*) seq+='\"' in=${in:1} ;;
      *) seq+=${in:0:1} in=${in:1} ;;
    esac
  done
}

# _rl_bind_keys binds the keys that people press to the private sequences.
_rl_bind_keys() {
  local map seq accept='\C-x\C-_R2\a'
  runloop_router_off
  for map in emacs-standard vi-insert vi-command; do
    _rl_bind_key "${RUNLOOP_ROUTER_BINDKEY:-^M}" "\\C-x\\C-_R1\\a$accept"
    _rl_bind_key '\C-j' "\\C-x\\C-_R4\\a$accept"
    _rl_bind_key "${RUNLOOP_ROUTER_WRONGKEY:-^X^W}" '\C-x\C-_R5\a'
    if [[ ${RUNLOOP_ROUTER_AGENTKEY-} ]]; then
      _rl_bind_key "$RUNLOOP_ROUTER_AGENTKEY" "\\C-x\\C-_R3\\a$accept"
    elif [[ $map == emacs-standard ]]; then # in vi's, Escape and Enter are two keys
      _rl_bind_key '\e\C-m' "\\C-x\\C-_R3\\a$accept"
      _rl_bind_key '\e\C-j' "\\C-x\\C-_R3\\a$accept" # the same, typed ahead
    fi
  done
}

# _rl_bind_key binds a key in the keymap map to a string of other keys.
_rl_bind_key() {
  _rl_keyseq "$1"
  bind -m "$map" "\"$seq\": \"$2\""
  _rl_keys+=("$seq")
}

# _rl_bind_private binds the sequences that the keys stand for, once in a shell:
# bash 5.1 loses its way when a sequence of bind -x is bound anew. There is no
# Escape in them, where old vi keymaps end.
_rl_bind_private() {
  local map
  [[ -z ${_rl_bound-} ]] || return 0
  for map in emacs-standard vi-insert vi-command; do
    bind -m "$map" -x '"\C-x\C-_R1\a": _rl_key_enter "$_"'
    bind -m "$map" -x '"\C-x\C-_R3\a": _rl_key_agents "$_"'
    bind -m "$map" -x '"\C-x\C-_R4\a": _rl_key_raw "$_"'
    bind -m "$map" -x '"\C-x\C-_R5\a": _rl_key_wrong "$_"'
  done
  _rl_bind_accept accept-line
  _rl_bound=1
}

_rl_state() { export RUNLOOP_ROUTER_STATE="bash $_rl_version $$ $1"; }

# runloop_router_on gives Enter to the router.
runloop_router_on() {
  if [[ ${BLE_VERSION-} ]]; then
    [[ $_rl_ble ]] || _rl_ble_load
  else
    _rl_bind_private
    _rl_bind_keys
  fi
  _rl_hook
  _rl_on=1
  _rl_state on
}

# runloop_router_off gives the keys back to bash.
runloop_router_off() {
  local map seq
  _rl_on=
  _rl_state 'off runloop_router_off'
  _rl_release
  [[ ! $_rl_ble ]] || return 0
  for map in emacs-standard vi-insert vi-command; do
    for seq in ${_rl_keys[@]+"${_rl_keys[@]}"}; do bind -m "$map" -r "$seq"; done
    bind -m "$map" '"\C-m": accept-line'
    bind -m "$map" '"\C-j": accept-line'
  done
  _rl_keys=()
}

# runloop_router_status says how it is.
runloop_router_status() {
  if _rl_is_on; then
    builtin printf 'runloop %s in bash %s: on\n' "$_rl_version" "$BASH_VERSION"
  else
    builtin printf 'runloop %s in bash %s: off (%s)\n' "$_rl_version" "$BASH_VERSION" "${RUNLOOP_ROUTER_STATE#* off }"
  fi
  { builtin hash rlp && [[ ${BASH_CMDS[rlp]-} == /* ]]; } 2>/dev/null || builtin printf '%s\n' 'rlp is not on the PATH, so each line runs in the shell'
}

# --- loading -------------------------------------------------------------

# The alias is what runs, with the prompt in a variable unless _rl_from says
# where else it is; a function of the same name is there for `unalias -a`.
# Bash 4.3 loses the variable on the way through `command` under a trap on DEBUG.
_rl_define_marker() {
  local run='RLP_PROMPT=${_rl_prompt-} \command rlp run "${_rl_from:---prompt-env=RLP_PROMPT}" ${RUNLOOP_ROUTER_OPENING_PATH:+"$RUNLOOP_ROUTER_OPENING_PATH"}'
  ((_rl_bash >= 404)) || run=${run/command/env}
  [[ :$SHELLOPTS: == *:posix:* ]] || eval "function @agents { $run; }"
  alias @agents="$run"
}

_rl_load() {
  local why
  if ((_rl_bash < 403)); then
    echo "runloop: bash $BASH_VERSION is too old, 4.3 is needed; Enter is left alone" >&2
    return 0
  fi
  : "${_rl_ble=}"
  _rl_at_ps1= _rl_ahead= _rl_held= _rl_asked= _rl_prompt= _rl_from= _rl_fd= _rl_last= _rl_last_to= _rl_last_is_newest= _rl_code= _rl_on= _rl_keys=()
  # Under set -u bash 4.3 takes ${name[*]-} for an error where there is no name.
  ((_rl_bash >= 404)) || _rl_readonly PROMPT_COMMAND || PROMPT_COMMAND=${PROMPT_COMMAND-}
  _rl_define_marker
  _rl_why_off
  if [[ $why ]]; then _rl_state "off $why"; return 0; fi
  # Without it, each line of a text that is pasted would be a request.
  ((_rl_bash >= 501)) || bind 'set enable-bracketed-paste on' 2>/dev/null
  runloop_router_on
}

[[ $- != *i* ]] || _rl_load
if [[ $_rl_aliases ]]; then shopt -s expand_aliases; fi
unset _rl_aliases
