//go:build sqlite_fts5 || fts5

package pog

// builtWithFTS5 says whether go-sqlite3 was compiled with the full-text
// module, which it is only under this build tag.
const builtWithFTS5 = true
