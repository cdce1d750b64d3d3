package opening

// maxEffort bounds what all hints about one file may cost, in pairs of letters
// compared: a file with a thousand wrong names among thousands of right ones
// gets its problems, and hints for the first of them.
const maxEffort = 3_000_000

// didYouMean gives a hint with the known name nearest to name, or "" when
// none is near enough to be what was meant.
func (s *source) didYouMean(name string, known []string) string {
	best, bestDist := "", len(name)/3+1
	for _, k := range known {
		if s.effort += len(name)*len(k) + 1; s.effort > maxEffort {
			return ""
		}
		d := distance(name, k, bestDist)
		if d > bestDist || d >= max(len(name), len(k)) {
			continue
		}
		// Of equally near names the first in the alphabet is always the one.
		if best == "" || d < bestDist || k < best {
			best, bestDist = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + quote(best) + "?"
}

// distance counts the letters to insert, delete, change or swap with their
// neighbour to turn a into b, and gives limit+1 when it is more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j+1]+1, row[j]+1, prev[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], prev2[j-1]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
