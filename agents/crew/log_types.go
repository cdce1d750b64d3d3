package main

// logReport is observation.log.patterns.v1: lines of a log by what they say,
// with what changes from line to line taken out.
type logReport struct {
	Lines    int            `json:"lines"`
	Levels   map[string]int `json:"levels"`
	Distinct int            `json:"distinct"` // patterns, also those not listed
	Patterns []logPattern   `json:"patterns"` // the gravest and most frequent first
}

type logPattern struct {
	Level   string `json:"level"`
	Count   int    `json:"count"`
	Pattern string `json:"pattern"`
	First   string `json:"first"` // the first line of the kind
}

// logSummary is artifact.summary.log.v1.
type logSummary struct {
	ArtifactID string `json:"artifact_id"`
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
	SummaryMD  string `json:"summary_md"`
	Rationale  string `json:"rationale"`
}
