package config

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// tcpRequest handles inspect-delay, the rules of connections, and the rules of content that recognise early talkers.
func (p *haproxyParser) tcpRequest(args []string, _ bool) {
	kind := args[0]
	known := []string{"inspect-delay", "content", "connection"}
	switch kind {
	case "inspect-delay", "content", "connection":
	case "session":
		p.wrong(p.line, "tcp-request session", "not served: write `tcp-request connection`, which asks at the same time here")
		return
	default:
		meant := nearest(kind, known)
		p.add(Error{
			Line: p.line, Keyword: "tcp-request", Expected: orList(known), Found: quote(kind), Suggestion: meant,
		})
		if kind = meant; meant == "" { // it may have been meant as either
			p.proxy.rules.broken, p.proxy.delayWrong = true, true
		}
	}
	switch kind {
	case "inspect-delay":
		p.inspectDelay(args[1:])
	case "content":
		if r, ok := p.rule("tcp-request content", args); ok {
			p.proxy.rules.rules = append(p.proxy.rules.rules, r)
		}
	case "connection":
		p.connectionRule(args)
	}
}

// inspectDelay keeps the first delay, that of the defaults section included, as HAProxy does.
func (p *haproxyParser) inspectDelay(args []string) {
	const name = "tcp-request inspect-delay"
	word := ""
	if len(args) > 0 {
		word = args[0]
	}
	p.atMost(name, args, 1)
	d, err := parseTime(word, time.Millisecond)
	if err != nil {
		p.badTime(p.line, name, word, err)
		p.proxy.delayWrong = true
		return
	}
	if first := p.proxy.delay; first.value > 0 {
		p.warn(p.line, "inspect-delay %s is ignored, as in HAProxy: line %d has set it to %s",
			formatTime(d), first.line, formatTime(first.value))
		return
	}
	p.proxy.delay, p.proxy.delayText = at[time.Duration]{d, p.line}, word
}

// rule reads what follows tcp-request. If its action is not known, there is no rule.
func (p *haproxyParser) rule(name string, args []string) (r rule, ok bool) {
	rules := &p.proxy.rules
	text := "tcp-request " + strings.Join(args, " ")
	known := slices.Sorted(maps.Keys(actions))
	action := ""
	if args = args[1:]; len(args) > 0 {
		action, args = args[0], args[1:]
	}
	if actions[action] == undecidedFate {
		rules.broken = true
		meant := nearest(action, known)
		p.add(Error{Line: p.line, Keyword: name, Expected: orList(known), Found: quote(action), Suggestion: meant})
		if len(args) == 0 || meant == "" && args[0] != "if" && args[0] != "unless" {
			return r, false // another action may have further words
		}
	}
	when, errs := rules.parseCondition(args, p.clientTest(""))
	for _, err := range errs {
		p.wrong(p.line, name, "%v", err)
		rules.broken = true
	}
	r = rule{actions[action], when, p.line, text}
	p.withCounts(name, &r)
	return r, true
}

// connectionRule handles `tcp-request connection`. HAProxy evaluates these rules before all others.
func (p *haproxyParser) connectionRule(args []string) {
	const name = "tcp-request connection"
	rules := &p.proxy.rules
	if len(rules.rules) > 0 {
		p.warn(p.line, "this rule is evaluated before the tcp-request content rule on line %d, as in HAProxy", rules.rules[0].line)
	}
	if p.track(args[1:]) {
		return
	}
	r, ok := p.rule(name, args)
	if r.when.inspects() {
		p.wrong(p.line, name, "asks for what the client has sent, and at that time it cannot have sent anything: use `tcp-request content`")
		rules.broken = true
	}
	if ok {
		rules.admission = append(rules.admission, r)
	}
}

func (p *haproxyParser) acl(args []string, _ bool) {
	name, title := args[0], "acl "+quoteOdd(args[0])
	rules := &p.proxy.rules
	if err := checkName(name); err != nil {
		p.wrong(p.line, "acl", "%v", err)
		title, rules.broken = "acl", true
	}
	if name == "or" {
		p.wrong(p.line, "acl", "a condition cannot name an acl that is called or, as in HAProxy")
		rules.broken = true
	}
	t, err := parseTest(args[1:], p.clientTest(name))
	if err != nil {
		p.wrong(p.line, title, "%v", err)
		rules.broken = true
		t = constant(never) // known from here on, so that lines that use it are not reported as well
	}
	if earlier, ok := rules.acls[name]; ok { // lines with the same name are alternatives
		t = earlier.or(t)
	}
	rules.acls[name] = t
}
