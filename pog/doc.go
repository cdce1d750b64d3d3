// Package pog is the personal ops graph: everything that happens, as events
// in an append-only ledger, and everything that follows from them, as views
// that can be thrown away and built again (spec/05).
//
// A [Store] owns two SQLite files. The ledger (events.sqlite) is the truth:
// an event is acknowledged after its fsync, is named by the BLAKE3 of its
// canonical JSON, and is sealed into a hash chain with everything before it.
// The views (pog.sqlite) are tables and full-text indexes a materializer
// derives from the ledger, in order and without reading a clock, so that two
// stores with the same ledger have the same views.
//
// Everything enters as a [Delta], proposed by a [Proposer] that says who is
// speaking and what it may change; everything leaves through a [Reader] that
// says which domains it may see, and whether addresses are masked. Neither
// can be widened by what is proposed or asked.
//
// Several processes may have one store open. Appends take turns at SQLite's
// write lock; whichever process commits or reads next brings the views up to
// date. Readers work on snapshots and never wait for a writer's lock.
package pog
