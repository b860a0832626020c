package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"hushgate/internal/policy"
)

// cond is the condition of a rule in HAProxy's syntax: a tree whose leaves ask about the moment of the inspection or about the
// client.
type cond struct {
	op   op
	test test   // ofMoment
	asks *ask   // ofClient
	args []cond // allOf, anyOf, noneOf
}

// op is what a cond consists of.
type op int

const (
	ofMoment op = iota // a test
	ofClient           // an ask
	allOf
	anyOf
	noneOf
)

// ask is a question about the client. It holds if one of its tests does. Two leaves with equal asks have the same answer.
type ask struct {
	key string
	any []policy.Test
}

func constant(t test) cond { return cond{op: ofMoment, test: t} }

func askAny(tests ...policy.Test) cond {
	return cond{op: ofClient, asks: &ask{fmt.Sprint(tests), tests}}
}

func (c cond) and(d cond) cond { return cond{op: allOf, args: []cond{c, d}} }
func (c cond) not() cond       { return cond{op: noneOf, args: []cond{c}} }

func (c cond) or(d cond) cond {
	if c.op == ofClient && d.op == ofClient {
		return askAny(slices.Concat(c.asks.any, d.asks.any)...)
	}
	return cond{op: anyOf, args: []cond{c, d}}
}

// value returns the bounds of the condition's value at a moment, as far as the answers are known.
func (c *cond) value(m moment, known answers) (least, most truth) {
	switch c.op {
	case ofMoment:
		return c.test[m], c.test[m]
	case ofClient:
		switch yes, answered := known[c.asks.key]; {
		case !answered:
			return fails, passes
		case yes:
			return passes, passes
		}
		return fails, fails
	case allOf:
		least, most = passes, passes
		for i := range c.args {
			l, m := c.args[i].value(m, known)
			least, most = min(least, l), min(most, m)
		}
	case anyOf, noneOf:
		for i := range c.args {
			l, m := c.args[i].value(m, known)
			least, most = max(least, l), max(most, m)
		}
		if c.op == noneOf {
			least, most = passes-most, passes-least
		}
	}
	return least, most
}

// leaves calls f with each leaf, until f returns false.
func (c *cond) leaves(f func(*cond) bool) bool {
	if c.op == ofMoment || c.op == ofClient {
		return f(c)
	}
	for i := range c.args {
		if !c.args[i].leaves(f) {
			return false
		}
	}
	return true
}

// unanswered returns a question to which no answer is known, nil if there is none.
func (c *cond) unanswered(known answers) (found *ask) {
	c.leaves(func(leaf *cond) bool {
		if leaf.op == ofClient {
			if _, answered := known[leaf.asks.key]; !answered {
				found = leaf.asks
			}
		}
		return found == nil
	})
	return found
}

// inspects reports whether the condition depends on what the client has sent, or on the time.
func (c *cond) inspects() bool {
	return !c.leaves(func(leaf *cond) bool {
		t := leaf.test
		return leaf.op != ofMoment || t[silent] != undecided && t[silent] == t[talked] && t[talked] == t[over]
	})
}

// answers maps the keys of questions to what is assumed of the client.
type answers map[string]bool

func (a answers) with(key string, yes bool) answers {
	b := maps.Clone(a)
	b[key] = yes
	return b
}

// class is what rules do to the clients for whom a condition holds, at each moment.
type class struct {
	when  policy.Condition
	fates [moments]fate
	by    int // the number of the rule that decides about a silent client; -1: none does
}

func (c *class) equal(d *class) bool {
	return c.fates == d.fates && c.by == d.by && fmt.Sprint(c.when) == fmt.Sprint(d.when)
}

// maxCombinations bounds the combinations of answers that are looked at.
const maxCombinations = 20_000

// sorter finds the classes of a list of rules.
type sorter struct {
	rules []rule
	asked []map[string]bool // by rule: what it and those after it ask
	done  map[string][]class
	left  int
}

// classes returns what the rules do to clients: a client belongs to the first class whose condition holds, and the condition of
// the last class is empty.
func classes(rules []rule) ([]class, error) {
	s := sorter{rules: rules, asked: make([]map[string]bool, len(rules)+1), done: map[string][]class{}, left: maxCombinations}
	s.asked[len(rules)] = map[string]bool{}
	for i := len(rules) - 1; i >= 0; i-- {
		s.asked[i] = maps.Clone(s.asked[i+1])
		rules[i].when.leaves(func(leaf *cond) bool {
			if leaf.op == ofClient {
				s.asked[i][leaf.asks.key] = true
			}
			return true
		})
	}
	found := s.sort(0, class{by: -1}, answers{})
	if s.left <= 0 {
		return nil, fmt.Errorf("the rules combine their acls in more than %d ways: use fewer acls in one rule, or one rule for each", maxCombinations)
	}
	return merged(found), nil
}

// sort returns the classes of the clients for which the first rules left the fates of c, given the answers.
func (s *sorter) sort(i int, c class, known answers) []class {
	if i == len(s.rules) || !slices.Contains(c.fates[:], undecidedFate) {
		for m := range c.fates {
			if c.fates[m] == undecidedFate {
				c.fates[m] = accepted
			}
		}
		return []class{c}
	}
	key := s.key(i, c, known)
	if found, done := s.done[key]; done {
		return found
	}
	if s.left--; s.left < 0 {
		return []class{c}
	}
	r := &s.rules[i]
	next := c
	for m := range c.fates {
		if c.fates[m] != undecidedFate {
			continue
		}
		least, most := r.when.value(moment(m), known)
		if least != most {
			s.done[key] = s.split(i, c, known)
			return s.done[key]
		}
		switch {
		case least == undecided:
			next.fates[m] = waits
		case least == passes:
			next.fates[m] = r.action
			if moment(m) == silent {
				next.by = i
			}
		}
	}
	s.done[key] = s.sort(i+1, next, known)
	return s.done[key]
}

// key stands for all that decides about the rest of the rules.
func (s *sorter) key(i int, c class, known answers) string {
	var b strings.Builder
	fmt.Fprint(&b, i, c.fates, c.by)
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if s.asked[i][k] {
			fmt.Fprint(&b, " ", k, known[k])
		}
	}
	return b.String()
}

// split asks a question, and puts those who answer it one way before the others, who then need no condition for it. If those who
// come first would end as the others do, the others' classes are theirs too.
func (s *sorter) split(i int, c class, known answers) []class {
	q := s.rules[i].when.unanswered(known)
	yes, no := s.sort(i, c, known.with(q.key, true)), s.sort(i, c, known.with(q.key, false))
	term := policy.Term{Any: q.any}
	head, rest := before(yes, no), no
	other := before(no, yes)
	usual := rest[len(rest)-1].by >= 0 && yes[len(yes)-1].by < 0
	if a, b := len(head)+len(no), len(other)+len(yes); b < a || b == a && usual {
		head, rest, term.Not = other, yes, true
	}
	var out []class
	for _, one := range head {
		one.when = and(term, one.when)
		out = append(out, one)
	}
	if len(out)+len(rest) > maxCombinations {
		s.left = 0
		return rest
	}
	return append(out, rest...)
}

// before returns list without other, if it ends with other.
func before(list, other []class) []class {
	n := len(list) - len(other)
	if n >= 0 && slices.EqualFunc(list[n:], other, func(a, b class) bool { return a.equal(&b) }) {
		return list[:n]
	}
	return list
}

// and returns the condition that a term and c hold.
func and(t policy.Term, c policy.Condition) (out policy.Condition) {
	if len(c) == 0 {
		return policy.Condition{{t}}
	}
	for _, terms := range c {
		out = append(out, append([]policy.Term{t}, terms...))
	}
	return out
}

// merged joins neighbours that differ only in their conditions.
func merged(list []class) (out []class) {
	for _, c := range list {
		if n := len(out); n > 0 && out[n-1].fates == c.fates && out[n-1].by == c.by {
			if last := &out[n-1]; len(c.when) > 0 {
				last.when = append(slices.Clone(last.when), c.when...)
			} else {
				last.when = nil
			}
			continue
		}
		out = append(out, c)
	}
	return out
}
