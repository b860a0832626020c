package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hushgate/internal/policy"
)

// In HAProxy a list of rules decides what happens to a client that talks early. hushgate has one verdict, so the list must
// lead to that verdict, in whatever way it is written. To find out, the rules are evaluated as HAProxy evaluates them, at
// each of the three moments of a connection that matter. Where they ask for the client's address, the clients are sorted into
// classes first, by all that is asked (conditions.go), and each class is evaluated.

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

// rule is one `tcp-request connection|content accept|reject|silent-drop [if|unless CONDITION]`.
type rule struct {
	action fate
	when   cond
	line   int
	text   string // as it stands in the file
}

// ruleSet holds the rules and acls of a section.
type ruleSet struct {
	acls      map[string]cond
	admission []rule // tcp-request connection
	rules     []rule // tcp-request content
	track     *track // tcp-request connection track-sc0; nil: none so far
	counted   []counted
	broken    bool // a line has an error, so the result of the other lines means nothing
}

// inherit returns the rules with which a section begins. The rules of its defaults section come before its own. As in
// HAProxy, the acls of the defaults section are not visible in it.
func (s ruleSet) inherit() ruleSet {
	s.acls, s.admission, s.rules, s.counted = map[string]cond{}, slices.Clone(s.admission), slices.Clone(s.rules), slices.Clone(s.counted)
	return s
}

// fate is what happens to a connection at one moment. The first rule that passes decides. A rule that is undecided makes the
// connection wait. A connection that reaches the end of the rules is accepted.
type fate int

const (
	undecidedFate fate = iota // by the rules looked at so far
	waits
	accepted
	rejected
	dropped
)

// actions are the words of rules.
var actions = map[string]fate{"accept": accepted, "reject": rejected, "silent-drop": dropped}

// screened reports whether clients of a class wait for the whole delay, and what those get that talk.
func (c *class) screened() (talk policy.Talk, ok bool) {
	switch f := c.fates; {
	case f[silent] != waits || f[over] != accepted:
		return 0, false
	case f[talked] == rejected:
		return policy.TalkReset, true
	case f[talked] == dropped:
		return policy.TalkSilentDrop, true
	}
	return policy.TalkObserve, true
}

// judge returns why the rules of content do not make an early-talker gateway, or nil if they do. They do if some clients have
// to wait for the banner, and lose their connection if they do not. The others may be let in or turned away at once.
func judge(list []class) error {
	screens := false
	for i := range list {
		talk, ok := list[i].screened()
		screens = screens || ok && talk != policy.TalkObserve
		if f := list[i].fates; f[silent] == waits && f[over] != accepted {
			return errRejectsQuiet
		}
	}
	if screens {
		return nil
	}
	switch f := list[len(list)-1].fates; {
	case f[silent] == rejected || f[silent] == dropped:
		return errors.New("the rules reject every client")
	case f[over] == rejected || f[over] == dropped:
		return errRejectsQuiet
	case f[talked] != rejected:
		return errors.New("the rules let early talkers pass (a client that no rule rejects is accepted)")
	case f[silent] == accepted:
		return errors.New("the rules accept a client at once, before the delay is over")
	}
	return nil
}

var errRejectsQuiet = errors.New("the rules reject clients that wait for the banner")

// clientTest reads an expression about the client: src, or a count of its connections.
type clientTest func(words []string) (cond, error)

// parseTest reads an expression: a fetch, flags and patterns, as they stand after `acl NAME` or between braces.
func parseTest(words []string, src clientTest) (cond, error) {
	if len(words) > 0 && (words[0] == "src" || isCounter(words[0])) {
		return src(words)
	}
	t, err := parseContentTest(words)
	return constant(t), err
}

// parseContentTest reads an expression about what the client has sent.
func parseContentTest(words []string) (test, error) {
	const served = "conditions that hushgate can evaluate are `src ADDR`, `req_len gt 0` (or ge 1, req.len), " +
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
func (s ruleSet) parseCondition(words []string, src clientTest) (c cond, errs []error) {
	if len(words) == 0 {
		return constant(always), nil
	}
	if words[0] != "if" && words[0] != "unless" {
		return constant(never), []error{fmt.Errorf("expected if or unless, found %s", quote(words[0]))}
	}
	unless := words[0] == "unless"
	words = words[1:]
	any, all, terms := constant(never), constant(always), 0
	for len(words) > 0 {
		if words[0] == "or" || words[0] == "||" {
			if terms == 0 {
				break
			}
			any, all, terms = any.or(all), constant(always), 0
			words = words[1:]
			continue
		}
		t, rest, err := s.parseTerm(words, src)
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
func (s ruleSet) parseTerm(words []string, src clientTest) (t cond, rest []string, err error) {
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
		t, err = parseTest(rest[:end], src)
		rest = rest[end+1:]
	} else {
		t, err = s.lookUp(first)
	}
	if negated {
		t = t.not()
	}
	return t, rest, err
}

func (s ruleSet) lookUp(name string) (cond, error) {
	if t, ok := s.acls[name]; ok {
		return t, nil
	}
	if t, ok := predefined[name]; ok {
		return constant(t), nil
	}
	if slices.Contains(predefinedForeign, name) {
		return constant(never), fmt.Errorf("HAProxy's acl %s is not served: hushgate does not inspect content", name)
	}
	known := slices.Concat(slices.Sorted(maps.Keys(s.acls)), slices.Sorted(maps.Keys(predefined)))
	if near := nearest(name, known); near != "" {
		return constant(never), fmt.Errorf("no acl is named %s; did you mean %q?", quote(name), near)
	}
	return constant(never), fmt.Errorf("no acl before this line is named %s", quote(name))
}
