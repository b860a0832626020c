package config

import "time"

// tcpRequest handles inspect-delay, and the content rules that recognise early talkers.
func (p *haproxyParser) tcpRequest(args []string, _ bool) {
	kind := args[0]
	known := []string{"inspect-delay", "content"}
	switch kind {
	case "inspect-delay", "content":
	case "connection", "session":
		p.wrong(p.line, "tcp-request "+kind, "not served: every client is held, and judged by `tcp-request content`")
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
		p.contentRule(args[1:])
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

func (p *haproxyParser) contentRule(args []string) {
	const name = "tcp-request content"
	rules := &p.proxy.rules
	actions := []string{"reject", "accept"}
	action := ""
	if len(args) > 0 {
		action, args = args[0], args[1:]
	}
	if action != "accept" && action != "reject" {
		rules.broken = true
		meant := nearest(action, actions)
		p.add(Error{Line: p.line, Keyword: name, Expected: orList(actions), Found: quote(action), Suggestion: meant})
		if len(args) == 0 || meant == "" && args[0] != "if" && args[0] != "unless" {
			return // another action may have further words
		}
	}
	when, errs := rules.parseCondition(args)
	for _, err := range errs {
		p.wrong(p.line, name, "%v", err)
		rules.broken = true
	}
	rules.rules = append(rules.rules, rule{action == "reject", when, p.line})
}

func (p *haproxyParser) acl(args []string, _ bool) {
	name, title := args[0], "acl "+quoteOdd(args[0])
	rules := &p.proxy.rules
	if err := checkName(name); err != nil {
		p.wrong(p.line, "acl", "%v", err)
		title = "acl"
	}
	t, err := parseTest(args[1:])
	if err != nil {
		p.wrong(p.line, title, "%v", err)
		rules.broken = true
		t = never // known from here on, so that lines that use it are not reported as well
	}
	if earlier, ok := rules.acls[name]; ok { // lines with the same name are alternatives
		t = earlier.or(t)
	}
	rules.acls[name] = t
}
