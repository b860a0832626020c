package policy

import (
	"fmt"
	"time"

	"hushgate/internal/wire"
)

// Answer is what a list says of an address that is in it.
type Answer struct {
	Kind AnswerKind
	// Reject is what a rejected client is told, one SMTP reply with its CRLF; an RST if it is empty.
	Reject Text
}

// AnswerKind tells apart the answers of lists.
type AnswerKind uint8

// The answers. A plain list has Listed alone; what follows from it is the rule's to say.
const (
	Listed AnswerKind = iota
	Permit
	Reject
	Dunno
)

// List is an immutable list of networks, safe for use by many shards at a time.
type List interface {
	// Answers are the distinct answers of the list.
	Answers() []Answer
	// Lookup returns the index, in Answers, of what the list says of an address; false if the address is not in it.
	Lookup(a wire.Addr) (answer int, ok bool)
	// Overlaps reports whether an address of a network may be in the list.
	Overlaps(a wire.Addr, bits uint8) bool
}

// NamedList is a list and what it is called in counters.
type NamedList struct {
	Name string
	List List
}

// Rule is one access rule: what becomes of clients for whom a condition holds.
type Rule struct {
	Name  string // for logs and counters
	Where string // file:line of the configuration
	When  Condition
	Do    Outcome
}

// Condition is an OR of ANDs of terms, as HAProxy has it: if A !B or C. An empty Condition always holds.
type Condition [][]Term

// Term is one word of a condition, which names one thing that may be said in several ways: an acl of several lines. It holds
// if one of its tests does or, with Not, if none does.
type Term struct {
	Not bool
	Any []Test
}

// Test is one question about a client.
type Test struct {
	Kind      TestKind
	List      int     // TestList: index of Config.Lists
	Signature Pattern // TestSignature
	Compare   Compare // TestConnections, TestRate
	Number    uint32  // TestConnections, TestRate
}

// TestKind tells apart the questions.
type TestKind uint8

// The questions.
const (
	TestList        TestKind = iota // the address is in a list (HAProxy: src)
	TestSignature                   // the SYN has a signature
	TestConnections                 // concurrent connections, the present one included (HAProxy: sc0_conn_cur, src_conn_cur)
	TestRate                        // new connections in Config.Window (HAProxy: sc0_conn_rate, src_conn_rate)
)

// Compare is how a number is compared with a rule's, in HAProxy's words.
type Compare uint8

// The comparisons.
const (
	GT Compare = iota
	GE
	LT
	LE
	EQ
)

func (c Compare) holds(a, b uint32) bool {
	switch c {
	case GT:
		return a > b
	case GE:
		return a >= b
	case LT:
		return a < b
	case LE:
		return a <= b
	case EQ:
		return a == b
	}
	return false
}

// Outcome is what a rule, or being an offender, means for a client.
type Outcome struct {
	Kind  OutcomeKind
	Delay time.Duration // OutcomeDelay
	Talk  Talk          // OutcomeTalk
	Text  Text          // OutcomeReject: one SMTP reply with its CRLF; an RST if it is empty
	List  int           // OutcomeByList: index of Config.Lists
}

// OutcomeKind tells apart the outcomes.
type OutcomeKind uint8

// The outcomes. Delay and Talk change how the client is treated and leave the further steps to be taken; all others end the
// decision, or (Dunno) the rules.
const (
	OutcomeDunno      OutcomeKind = iota // no further rule is looked at
	OutcomeAccept                        // no delay, no limit, no DNS list
	OutcomeReject                        // refused
	OutcomeSilentDrop                    // forgotten without a word (HAProxy: silent-drop)
	OutcomeTarpit                        // kept, with a closed window
	OutcomeDelay                         // another delay
	OutcomeTalk                          // another answer to early talk
	OutcomeByList                        // as the list says that the address is in; no match if it is in none
	numOutcomes
)

// String returns the outcome's name.
func (k OutcomeKind) String() string {
	switch k {
	case OutcomeDunno:
		return "dunno"
	case OutcomeAccept:
		return "accept"
	case OutcomeReject:
		return "reject"
	case OutcomeSilentDrop:
		return "silent-drop"
	case OutcomeTarpit:
		return "tarpit"
	case OutcomeDelay:
		return "delay"
	case OutcomeTalk:
		return "talk"
	case OutcomeByList:
		return "by list"
	case numOutcomes:
	}
	return "unknown"
}

// RuleID names who decided: one of those below, or a configured rule; see Table.Rules.
type RuleID uint16

// What decides if no configured rule does.
const (
	RuleNone        RuleID = iota // the frontend's delay
	RuleConnections               // too many concurrent connections
	RuleRate                      // too many new connections
	RulePass                      // a pass
	RuleVeto                      // no pass, and no way to get one here
	RuleOffender                  // offences
	RuleDNS                       // DNS lists, while the client waited
	firstRule
)

// RuleInfo is a rule's place in the configuration.
type RuleInfo struct {
	Name, Where string
	Frontend    string
}

// Full returns the rule with its frontend, which tells it apart from all others.
func (r RuleInfo) Full() string {
	if r.Frontend == "" {
		return r.String()
	}
	return r.Frontend + ": " + r.String()
}

// String returns name, and place if the rule has one.
func (r RuleInfo) String() string {
	if r.Where == "" {
		return r.Name
	}
	return fmt.Sprintf("%s (%s)", r.Name, r.Where)
}

// rule is a Rule with what its outcome leads to.
type rule struct {
	id      RuleID
	when    Condition
	kind    OutcomeKind
	list    int
	base    *base      // OutcomeDelay, OutcomeTalk: how to go on
	verdict variants   // a final outcome
	answers []listRule // OutcomeByList: by the list's answer
}

// listRule is what one answer of a list leads to.
type listRule struct {
	kind    OutcomeKind
	verdict variants
}

// holds reports whether a condition holds for the client that is looked at.
func (v *visit) holds(c Condition) bool {
	if len(c) == 0 {
		return true
	}
	for _, and := range c {
		if v.all(and) {
			return true
		}
	}
	return false
}

func (v *visit) all(terms []Term) bool {
	for i := range terms {
		if v.any(terms[i].Any) == terms[i].Not {
			return false
		}
	}
	return true
}

func (v *visit) any(tests []Test) bool {
	for i := range tests {
		if v.test(&tests[i]) {
			return true
		}
	}
	return false
}

func (v *visit) test(t *Test) bool {
	switch t.Kind {
	case TestList:
		_, in := v.lookup(t.List)
		return in
	case TestSignature:
		return v.client.Signature != 0 && t.Signature.Matches(&v.memory.signatures.slab.At(uint32(v.client.Signature)).signature)
	case TestConnections:
		return t.Compare.holds(v.connections, t.Number)
	case TestRate:
		return t.Compare.holds(v.rate, t.Number)
	}
	return false
}

// lookup asks a list, and counts the match.
func (v *visit) lookup(list int) (answer int, ok bool) {
	answer, ok = v.table.lists[list].List.Lookup(v.client.Addr)
	if ok && v.learn {
		v.memory.matches[list]++
	}
	return answer, ok
}
