package admin

import "time"

// Explanation is everything that is known of the clients of an address or a network.
type Explanation struct {
	Client      string            `json:"client"`
	Remembered  Remembered        `json:"remembered"`
	Verdicts    map[string]uint64 `json:"verdicts"`    // of the connections that are remembered
	Connections []PastConnection  `json:"connections"` // the latest first
	Next        []Outlook         `json:"next"`        // of one address
	Lists       []string          `json:"lists"`       // access lists that have the address
	Passes      []Pass            `json:"passes"`
	Offenders   []Offender        `json:"offenders"`
	Clients     []ClientUsage     `json:"clients"`
	Partial     bool              `json:"partial"` // the last three lists have more
}

// Remembered says how far back the memory of connections goes.
type Remembered struct {
	Size        int        `json:"size"`
	Connections uint64     `json:"connections"` // of all clients
	Since       *time.Time `json:"since"`
}

// PastConnection is a connection that has ended, and what explains its verdict.
type PastConnection struct {
	Connection Verdict  `json:"connection"`
	Accepted   bool     `json:"accepted"`
	DNSLists   []string `json:"dns_lists"`
	DNSRank    int      `json:"dns_rank"`
	Lines      []string `json:"lines"`
	Capture    string   `json:"capture"`
}

// Outlook is what the next connection to a frontend would get.
type Outlook struct {
	Frontend     string `json:"frontend"`
	Rule         string `json:"rule"`
	DelayMs      int64  `json:"delay_ms"`
	Refusal      string `json:"refusal"`
	OnEarlyTalk  string `json:"on_early_talk"`
	Pass         string `json:"pass"`
	AsksDNSLists bool   `json:"asks_dns_lists"`
}
