// Package broker is the one door through which agents reach models. It picks
// a provider by route, holds every call to its budgets before it is made,
// retries what is worth retrying, remembers answers, and reports what each
// call cost (spec/07).
//
// The order in which one call passes through the package:
//
//	validate → route → cache → health → budget hold → provider → settle → record
//
// Budgets work by holding: before an attempt the estimate of its prompt and
// the longest answer it may get are set aside in every scope that has a limit;
// afterwards the hold is replaced by what the provider reports. So a budget
// can be passed only by the error of an estimate, by however many callers it
// is raced for. A call that would fit but for holds waits for them.
//
// A call is charged for what it used, failed attempts included, and a call
// that might pass a limit is refused before a byte leaves the machine. Being
// offline is a normal state: it is answered at once, with an error that a
// caller may take as "go on without".
//
// Prompts and secrets appear in no [Record] and no [Error].
package broker
