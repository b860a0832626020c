package doctor

import (
	"encoding/json"
	"fmt"
)

// Grade says how serious a finding is.
type Grade uint8

// The grades, in the order of their weight.
const (
	Good    Grade = iota // as it should be
	Note                 // nothing is wrong, but it is worth knowing
	Unknown              // it could not be examined
	Warning              // mail flows, but not all of it, or not always
	Fault                // mail does not flow, or clients get past the gateway
)

var grades = [...]string{"ok", "note", "unknown", "warning", "fault"}

// String returns the grade in lower case.
func (g Grade) String() string { return grades[g] }

// MarshalText is String.
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (g *Grade) UnmarshalText(text []byte) error {
	for i, name := range grades {
		if name == string(text) {
			*g = Grade(i)
			return nil
		}
	}
	return fmt.Errorf("a finding's grade: expected one of %v, found %.40q", grades, text)
}

// Finding is one result of an examination.
type Finding struct {
	Area    string `json:"area"`              // what was examined: "rules", "return path"
	Subject string `json:"subject,omitempty"` // a server, an interface, an address, a setting
	Grade   Grade  `json:"grade"`
	Found   string `json:"found"`
	Means   string `json:"means,omitempty"` // what follows for mail
	Mend    string `json:"mend,omitempty"`  // a command, or what to do
}

// Report is the result of all examinations.
type Report struct {
	Findings []Finding
}

// Worst returns the weightiest grade.
func (r *Report) Worst() (worst Grade) {
	for i := range r.Findings {
		worst = max(worst, r.Findings[i].Grade)
	}
	return worst
}

// Count returns how many findings have a grade.
func (r *Report) Count(g Grade) (n int) {
	for i := range r.Findings {
		if r.Findings[i].Grade == g {
			n++
		}
	}
	return n
}

// MarshalJSON writes {"worst": ..., "findings": [...]}.
func (r *Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Worst    Grade     `json:"worst"`
		Findings []Finding `json:"findings"`
	}{r.Worst(), append([]Finding{}, r.Findings...)})
}
