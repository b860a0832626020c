package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// In HAProxy a list of rules decides what happens to a client that talks early. hushgate has one verdict, so the list must
// lead to that verdict, in whatever way it is written. To find out, the rules are evaluated as HAProxy evaluates them, at
// each of the three moments of a connection that matter.

// moment is a point in the inspection of a connection.
type moment int

const (
	silent moment = iota // nothing was received, the delay is not over
	talked               // payload was received before the delay was over
	over                 // the delay is over, nothing was received
	moments
)

// truth is HAProxy's three-valued logic. Its values are ordered so that "and" is min and "or" is max.
type truth int

const (
	fails     truth = iota
	undecided       // not known until more is received or the delay is over
	passes
)

// test is the value of a condition at each moment.
type test [moments]truth

var (
	always = test{passes, passes, passes}
	never  = test{fails, fails, fails}
	// waitEnd is the predefined WAIT_END: undecided until the delay is over, whatever was received.
	waitEnd = test{undecided, undecided, passes}
	// hasContent is `req_len gt 0`: HAProxy calls it undecided while more may be received.
	hasContent = test{undecided, passes, fails}
	// noContent is `req_len eq 0`: true of an empty buffer at once, although more may be received.
	noContent = test{passes, fails, passes}
)

// predefined holds the conditions that a rule can use by name without declaring them (HAProxy's manual, section 7.4).
// LOCALHOST is `src 127.0.0.1/8 ::1`: no client on the network has such an address, and the gateway drops such packets.
var predefined = map[string]test{
	"TRUE": always, "FALSE": never, "WAIT_END": waitEnd, "REQ_CONTENT": hasContent, "LOCALHOST": never,
}

// predefinedForeign lists HAProxy's other predefined conditions.
var predefinedForeign = strings.Fields("HTTP HTTP_1.0 HTTP_1.1 HTTP_2.0 HTTP_CONTENT HTTP_URL_ABS HTTP_URL_SLASH HTTP_URL_STAR " +
	"METH_CONNECT METH_DELETE METH_GET METH_HEAD METH_OPTIONS METH_POST METH_PUT METH_TRACE RDP_COOKIE")

func (t test) and(u test) test { return t.combine(u, func(a, b truth) truth { return min(a, b) }) }
func (t test) or(u test) test  { return t.combine(u, func(a, b truth) truth { return max(a, b) }) }
func (t test) not() test       { return t.combine(t, func(a, _ truth) truth { return passes - a }) }

func (t test) combine(u test, f func(a, b truth) truth) test {
	for m := range t {
		t[m] = f(t[m], u[m])
	}
	return t
}

// rule is one `tcp-request content accept|reject [if|unless CONDITION]`.
type rule struct {
	rejects bool
	when    test
	line    int
}

// ruleSet holds the rules and acls of a section.
type ruleSet struct {
	acls   map[string]test
	rules  []rule
	broken bool // a line has an error, so the result of the other lines means nothing
}

// inherit returns the rules with which a section begins. The rules of its defaults section come before its own. As in
// HAProxy, the acls of the defaults section are not visible in it.
func (s ruleSet) inherit() ruleSet {
	return ruleSet{acls: map[string]test{}, rules: slices.Clone(s.rules), broken: s.broken}
}

// fate is what happens to a connection at one moment.
type fate int

const (
	waits fate = iota
	accepted
	rejected
)

// fate evaluates the rules. The first rule that passes decides. A rule that is undecided makes the connection wait. A
// connection that reaches the end of the rules is accepted.
func (s ruleSet) fate(m moment) fate {
	for _, r := range s.rules {
		switch {
		case r.when[m] == undecided:
			return waits
		case r.when[m] == passes && r.rejects:
			return rejected
		case r.when[m] == passes:
			return accepted
		}
	}
	return accepted
}

// judge returns why the rules do not make an early-talker gateway, or nil if they do.
func (s ruleSet) judge() error {
	quiet, talk, silence := s.fate(over), s.fate(talked), s.fate(silent)
	switch {
	case silence == rejected:
		return errors.New("the rules reject every client")
	case quiet == rejected:
		return errors.New("the rules reject clients that wait for the banner")
	case talk != rejected:
		return errors.New("the rules let early talkers pass (a client that no rule rejects is accepted)")
	case silence == accepted:
		return errors.New("the rules accept a client at once, before the delay is over")
	}
	return nil
}

// parseTest reads an expression: a fetch, flags and patterns, as they stand after `acl NAME` or between braces.
func parseTest(words []string) (test, error) {
	const served = "conditions that hushgate can evaluate are `req_len gt 0` (or ge 1, req.len), " +
		"`req.payload(0,1) -m found`, and REQ_CONTENT, WAIT_END, TRUE, FALSE, LOCALHOST"
	if len(words) == 0 {
		return test{}, fmt.Errorf("a condition is missing: %s", served)
	}
	fetch, args := words[0], words[1:]
	switch fetch {
	case "always_true", "always_false", "wait_end":
		if len(args) > 0 {
			return test{}, fmt.Errorf("%s takes no pattern", fetch)
		}
		return map[string]test{"always_true": always, "always_false": never, "wait_end": waitEnd}[fetch], nil
	case "req_len", "req.len":
		return parseLength(args)
	case "payload(0,1)", "req.payload(0,1)":
		if slices.Equal(args, []string{"-m", "found"}) {
			return hasContent, nil
		}
	}
	return test{}, fmt.Errorf("%s is not served; %s", quote(strings.Join(words, " ")), served)
}

// parseLength reads the patterns after req_len. The only question served is whether there is any content: a connection
// passes or fails the test with its first octet.
func parseLength(args []string) (test, error) {
	text := strings.Join(args, " ")
	if len(args) >= 2 && args[0] == "-m" && args[1] == "int" {
		args = args[2:]
	}
	operator, value := "eq", ""
	switch len(args) {
	case 1:
		value = args[0]
	case 2:
		operator, value = args[0], args[1]
	}
	if from, to, isRange := strings.Cut(value, ":"); isRange && len(args) == 1 && to == "" {
		operator, value = "ge", from
	}
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
	case operator == "gt" && n == 0, operator == "ge" && n == 1:
		return hasContent, nil
	case operator == "eq" && n == 0, operator == "le" && n == 0, operator == "lt" && n == 1:
		return noContent, nil
	}
	return test{}, fmt.Errorf("expected gt 0 or ge 1, found %s: one octet makes an early talker", quote(text))
}

// parseCondition reads what follows an action: nothing, or if|unless and terms. "or" binds less tightly than the implicit
// "and". It returns all errors in errs.
func (s ruleSet) parseCondition(words []string) (t test, errs []error) {
	if len(words) == 0 {
		return always, nil
	}
	if words[0] != "if" && words[0] != "unless" {
		return test{}, []error{fmt.Errorf("expected if or unless, found %s", quote(words[0]))}
	}
	unless := words[0] == "unless"
	words = words[1:]
	any, all, terms := never, always, 0
	for len(words) > 0 {
		if words[0] == "or" || words[0] == "||" {
			if terms == 0 {
				break
			}
			any, all, terms = any.or(all), always, 0
			words = words[1:]
			continue
		}
		t, rest, err := s.parseTerm(words)
		if err != nil {
			errs = append(errs, err)
		}
		all, words = all.and(t), rest
		terms++
	}
	if terms == 0 {
		errs = append(errs, errors.New("expected a condition on each side of or, found nothing"))
	}
	any = any.or(all)
	if unless {
		any = any.not()
	}
	return any, errs
}

// parseTerm reads one name, or one expression in braces, with the exclamation mark before it, if any. The caller can read
// the rest also after an error.
func (s ruleSet) parseTerm(words []string) (t test, rest []string, err error) {
	first, negated := words[0], false
	for strings.HasPrefix(first, "!") {
		negated = !negated
		if first = first[1:]; first == "" {
			if words = words[1:]; len(words) == 0 {
				return t, nil, errors.New("expected a condition after !, found nothing")
			}
			first = words[0]
		}
	}
	rest = words[1:]
	if first == "{" {
		end := slices.Index(rest, "}")
		if end < 0 {
			return t, nil, errors.New("{ without its }")
		}
		t, err = parseTest(rest[:end])
		rest = rest[end+1:]
	} else {
		t, err = s.lookUp(first)
	}
	if negated {
		t = t.not()
	}
	return t, rest, err
}

func (s ruleSet) lookUp(name string) (test, error) {
	if t, ok := s.acls[name]; ok {
		return t, nil
	}
	if t, ok := predefined[name]; ok {
		return t, nil
	}
	if slices.Contains(predefinedForeign, name) {
		return test{}, fmt.Errorf("HAProxy's acl %s is not served: hushgate does not inspect content", name)
	}
	known := slices.Concat(slices.Sorted(maps.Keys(s.acls)), slices.Sorted(maps.Keys(predefined)))
	if near := nearest(name, known); near != "" {
		return test{}, fmt.Errorf("no acl is named %s; did you mean %q?", quote(name), near)
	}
	return test{}, fmt.Errorf("no acl before this line is named %s", quote(name))
}
