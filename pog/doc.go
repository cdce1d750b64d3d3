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
// # Views
//
// [Store.Query] runs SQL on views with these names; a reader has those of its
// domains, plus events. Every row ends with ts_ms, actor, confirmed (1 when a
// person stands behind it) and source_event.
//
//	contacts   id, contact_key, external_id, name, email, emails, org, title,
//	           trust, tags, source, name_norm, first_norm
//	notes      id, note_key, title, body, source, tags
//	artifacts  id, artifact_id, kind, path, sha256, name, size, media_type,
//	           summary, trace_id
//	emails     id, sent_to, cc, subject, artifact_id, message_id, status,
//	           delivered_at_ms, trace_id
//	accounts   id, kind, handle, auth_ref, scopes, verified
//	runs       id, trace_id, opening_id, opening_name, state, error,
//	           started_ms, finished_ms
//	nodes      id, trace_id, node, attempt, agent, state, error, started_ms,
//	           finished_ms
//	actions    id, action_id, trace_id, node, agent, kind, summary, digest,
//	           state, decided_by, rationale, requested_ms, decided_ms
//	events     id, ts_ms, actor, kind, scope, trace_id, confirmed,
//	           payload_json, provenance_json, domain
//
// Lists (emails, tags, sent_to, cc, scopes) are JSON arrays. The full-text
// indexes contacts_fts, notes_fts, artifacts_fts and emails_fts join on
// rowid = id; contacts_tri holds the trigrams of name_norm. A reader of every
// domain also has edges(from_id, kind, to_id, source_event) and
// entity_history(entity_key, event_id); the owner has the ledger, as events
// and as ledger.events. Events sorted by another column than id are found by
// index when that column is selected too.
//
// Three functions help to look people up: norm(text) gives lower case without
// accents and marks, as name_norm and first_norm have it; trigrams(text) is
// an expression to MATCH contacts_tri with, in which nothing of text is
// syntax; similarity(a, b) compares two names, from 0 to 1:
//
//	SELECT c.*, similarity(?1, c.name_norm) AS score
//	FROM contacts_tri t JOIN contacts c ON c.id = t.rowid
//	WHERE contacts_tri MATCH trigrams(?1) ORDER BY score DESC LIMIT 5
//
// # Processes
//
// Several processes may have one store open. Appends take turns at SQLite's
// write lock; whichever process commits or reads next brings the views up to
// date. Readers work on snapshots and never wait for a writer's lock.
package pog
