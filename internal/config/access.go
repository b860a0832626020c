package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"hushgate/internal/lists"
	"hushgate/internal/policy"
)

// List is a list of networks that rules ask for: a file, or networks that stand in the configuration itself.
type List struct {
	Name     string // for counters: the file, or the acl
	Where    string // file:line of the configuration
	Line     int
	Networks []netip.Prefix `json:",omitempty"`
	File     string         `json:",omitempty"` // empty: Networks
	Syntax   lists.Syntax   `json:",omitempty"`
	// Only says which lines of a Postfix table make an address one of the list: those that permit, or those that reject.
	// Listed stands for all lines.
	Only lists.Action `json:",omitempty"`
	// Table is the file's content. Load reads it; Parse, which reads no file, leaves it nil.
	Table *lists.Table `json:"-"`
	// Source is the file, to be read again when it changes. One that several lists name is the same in all of them.
	Source *lists.File `json:"-"`
}

// list returns the number of a list. A file that is named in several places is one list.
func (c *rawConfig) list(l List) int {
	if l.File != "" {
		same := func(o List) bool { return o.File == l.File && o.Syntax == l.Syntax && o.Only == l.Only }
		if i := slices.IndexFunc(c.lists, same); i >= 0 {
			return i
		}
	}
	c.lists = append(c.lists, l)
	return len(c.lists) - 1
}

// place returns file:line.
func (p *problems) place(line int) string { return fmt.Sprintf("%s:%d", p.file, line) }

// beside returns the path of a file that the configuration names. A relative one begins where the configuration is.
func (p *problems) beside(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(p.file), path)
}

// clientTest returns the reader of the words after src, in the acl with a name or between braces.
func (p *haproxyParser) clientTest(name string) clientTest {
	return func(words []string) (cond, error) {
		if isCounter(words[0]) {
			return p.counterTest(words)
		}
		flags, patterns, err := p.srcFlags(words[1:])
		switch {
		case err != nil:
			return constant(never), err
		case flags.anybody && len(patterns)+len(flags.files) > 0:
			return constant(never), fmt.Errorf("src -m found takes no address, found %s", quote(strings.Join(patterns, " ")))
		case flags.anybody:
			return constant(always), nil
		case len(patterns)+len(flags.files) == 0:
			return constant(never), errors.New("src: expected addresses, networks or -f FILE, found nothing")
		}
		var tests []policy.Test
		for _, file := range flags.files {
			if !filepath.IsAbs(file) {
				p.note(p.line, "src -f %s is beside this configuration; HAProxy looks for it where it is started", quoteOdd(file))
			}
			l := List{Name: p.beside(file), Where: p.place(p.line), Line: p.line, File: p.beside(file), Syntax: lists.HAProxy}
			tests = append(tests, policy.Test{List: p.raw.list(l)})
		}
		if len(patterns) > 0 {
			networks, err := srcNetworks(patterns)
			if err != nil {
				return constant(never), err
			}
			if name == "" {
				name = "src " + strings.Join(patterns, " ")
			}
			l := List{Name: name, Where: p.place(p.line), Line: p.line, Networks: networks}
			tests = append(tests, policy.Test{List: p.raw.list(l)})
		}
		return askAny(tests...), nil
	}
}

// srcNetworks reads the patterns of src.
func srcNetworks(patterns []string) (networks []netip.Prefix, err error) {
	for _, word := range patterns {
		n, err := lists.ParseNetwork(word, lists.HAProxy)
		switch {
		case err != nil && strings.HasPrefix(word, "-"):
			return nil, fmt.Errorf("src: flags such as %s come before the first address, as in HAProxy", quoteOdd(word))
		case err != nil:
			return nil, fmt.Errorf("src: %w", asReason(err))
		}
		networks = append(networks, n)
	}
	return networks, nil
}

// asReason returns the error of a network without the colon with which one begins that has no file.
func asReason(err error) error { return errors.New(strings.TrimPrefix(err.Error(), ": ")) }

// srcFlags are the flags between src and its patterns.
type srcFlags struct {
	files   []string
	anybody bool // -m found: each client has an address
}

func (p *haproxyParser) srcFlags(words []string) (f srcFlags, patterns []string, err error) {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		flag, value := words[0], ""
		if words = words[1:]; flag == "--" {
			break
		}
		if flag == "-f" || flag == "-m" {
			if len(words) == 0 {
				return f, nil, fmt.Errorf("src %s: expected a word after it, found nothing", flag)
			}
			value, words = words[0], words[1:]
		}
		switch {
		case flag == "-i", flag == "-n", flag == "-m" && value == "ip": // what src does in any case
		case flag == "-f" && value == "":
			return f, nil, errors.New("src -f: expected a file, found nothing")
		case flag == "-f":
			f.files = append(f.files, value)
		case flag == "-m" && value == "found":
			f.anybody = true
		case flag == "-m":
			return f, nil, fmt.Errorf("src -m: expected ip or found, found %s: hushgate compares addresses with networks alone", quote(value))
		case flag == "-M", flag == "-u":
			return f, nil, fmt.Errorf("src %s is not served: lists are files that -f names, and are not changed at run time", flag)
		default:
			return f, nil, fmt.Errorf("src: expected -f FILE, -i, -n, -m ip, -m found or --, found %s", quote(flag))
		}
	}
	return f, words, nil
}

// resolveRules makes the policy's rules of those in HAProxy's syntax, and reports a frontend whose rules do not make an
// early-talker gateway.
func (r *resolver) resolveRules(f *rawProxy, out *Frontend) {
	if r.raw.native || f.rules.broken {
		return
	}
	admission, err := classes(f.rules.admission)
	if err != nil {
		r.wrong(f.rules.admission[0].line, "tcp-request connection", "%v", err)
		return
	}
	out.Admission = r.rulesOf(f.rules.admission, admission, func(c *class) (policy.Outcome, bool) {
		return atOnce(c.fates[silent]), c.fates[silent] == accepted
	})
	content, err := classes(f.rules.rules)
	if err != nil {
		r.wrong(f.rules.rules[0].line, "tcp-request content", "%v", err)
		return
	}
	if err := judge(content); err != nil {
		r.unscreened(f, err)
		return
	}
	out.Access = r.rulesOf(f.rules.rules, content, func(c *class) (o policy.Outcome, usual bool) {
		switch talk, ok := c.screened(); {
		case !ok:
			return atOnce(c.fates[silent]), false
		case talk == policy.TalkReset:
			return policy.Outcome{Kind: policy.OutcomeDunno}, true
		default:
			return policy.Outcome{Kind: policy.OutcomeTalk, Talk: talk}, false
		}
	})
}

// atOnce is the outcome for a client whose fate does not depend on its silence.
func atOnce(f fate) policy.Outcome {
	switch f {
	case rejected:
		return policy.Outcome{Kind: policy.OutcomeReject}
	case dropped:
		return policy.Outcome{Kind: policy.OutcomeSilentDrop}
	case undecidedFate, waits, accepted:
	}
	return policy.Outcome{Kind: policy.OutcomeAccept}
}

// rulesOf returns the policy's rules for classes. The last ones are left out if they do what is usual without rules.
func (r *resolver) rulesOf(rules []rule, list []class, outcome func(*class) (o policy.Outcome, usual bool)) (out []policy.Rule) {
	needed := 0
	for i := range list {
		c := &list[i]
		o, usual := outcome(c)
		by, name := c.by, ""
		if by < 0 || o.Kind == policy.OutcomeDunno || o.Kind == policy.OutcomeTalk {
			name = "the end of the rules"
			by = len(rules) - 1
		}
		one := policy.Rule{Name: name, When: c.when, Do: o}
		if by >= 0 {
			one.Where = r.place(rules[by].line)
			if name == "" {
				one.Name = rules[by].text
			}
		}
		out = append(out, one)
		if !usual {
			needed = len(out)
		}
	}
	if needed == 0 {
		return nil
	}
	return out[:needed]
}
