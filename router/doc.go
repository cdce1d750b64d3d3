// Package router decides whether a typed line is a command for the shell or a
// request for agents (spec/08).
//
// It runs on every press of Enter, before anything else. So it is a pure
// function of its input, keeps nothing, starts nothing, and costs nothing to
// load: the word lists are sorted text inside the binary and are searched
// where they lie.
//
// Being wrong costs unevenly. A request that is run as a command mostly ends
// in "command not found"; a command that goes to a model leaks and annoys; a
// request that starts with rm may destroy something. Hence: ties go to the
// shell, a single word never leaves the machine unless it is a greeting or a
// question, and a destructive command that reads like a sentence is marked so
// that the caller asks first.
//
// The rules, in order; the first that applies decides:
//
//	blank            nothing was typed
//	denylist         the user forbids it: shell, blocked
//	forced           prefix "!" for the shell, ", " or "@ " or a budget for agents
//	too_long         over a mebibyte: shell
//	allowlist        the user's own patterns: shell
//	fallback:opening the user turned the shell's fast path off
//	correction       the user has said where lines like this one belong
//	history, comment, syntax, path, keyword, freetext, idiom: certainly shell
//	one_word         shell, but for greeting, question and script
//	address, contraction, script: certainly agent
//	typo             one slip away from a command
//	score            the sum of small evidence
package router
