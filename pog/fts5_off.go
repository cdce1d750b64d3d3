//go:build !sqlite_fts5 && !fts5

package pog

const builtWithFTS5 = false
