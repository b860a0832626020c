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
	DNSAnswers  []DNSAnswer       `json:"dns_answers"` // what DNS lists have said of the address lately
	Passes      []Pass            `json:"passes"`
	Offenders   []Offender        `json:"offenders"`
	Clients     []ClientUsage     `json:"clients"`
	// BecameOffender has what logs say of that, the latest first. It is empty in a gateway's answer.
	BecameOffender []BecameOffender `json:"became_offender"`
	Partial        bool             `json:"partial"` // the last four lists have more
}

// BecameOffender is what a log says of a client that has become an offender.
type BecameOffender struct {
	Client   string    `json:"client"` // a network
	Time     time.Time `json:"time"`
	ForMs    int64     `json:"for_ms"`
	Frontend string    `json:"frontend"`
	Lines    []string  `json:"lines"`
}

// Remembered says how far back the memory of connections goes.
type Remembered struct {
	Size        int        `json:"size"`
	Connections uint64     `json:"connections"` // of all clients
	Since       *time.Time `json:"since"`
	Unnamed     uint64     `json:"unnamed"` // connections that logs only count
	Capture     string     `json:"capture"` // the file of captures, which may have more
}

// DNSAnswer is what a DNS list has said of an address, as long as that answer is kept.
type DNSAnswer struct {
	List   string   `json:"list"`
	Answer string   `json:"answer"` // "listed", "not listed" or "silent"
	Codes  []string `json:"codes"`
	Weight int      `json:"weight"` // of the sites that count
	LeftMs int64    `json:"left_ms"`
}

// PastConnection is a connection that has ended, and what explains its verdict.
type PastConnection struct {
	Connection Verdict    `json:"connection"`
	Accepted   bool       `json:"accepted"`
	Treatment  *Treatment `json:"treatment"` // null if it is not known
	DNSLists   []string   `json:"dns_lists"`
	DNSRank    int        `json:"dns_rank"`
	Lines      []string   `json:"lines"`
	Capture    string     `json:"capture"`
}

// Outlook is what the next connection to a frontend would get.
type Outlook struct {
	Frontend string `json:"frontend"`
	Rule     string `json:"rule"`
	Treatment
	Pass         string `json:"pass"`
	AsksDNSLists bool   `json:"asks_dns_lists"`
	Stress       bool   `json:"stress"`
	// DNSEffect is what the answers that are kept of DNS lists lead to, and AfterDNS what becomes of the treatment then; null if
	// nothing does.
	DNSEffect string     `json:"dns_effect"`
	AfterDNS  *Treatment `json:"after_dns"`
}

// Treatment is how a connection is treated.
type Treatment struct {
	DelayMs     int64  `json:"delay_ms"`
	Refusal     string `json:"refusal"`
	OnEarlyTalk string `json:"on_early_talk"`
}
