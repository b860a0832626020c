package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"hushgate/internal/lists"
	"hushgate/internal/policy"
)

// accessActions maps the key of a rule in YAML to what it does.
var accessActions = map[string]policy.OutcomeKind{
	"accept": policy.OutcomeAccept, "reject": policy.OutcomeReject, "silent-drop": policy.OutcomeSilentDrop,
	"tarpit": policy.OutcomeTarpit, "delay": policy.OutcomeDelay, "observe": policy.OutcomeTalk, "dunno": policy.OutcomeDunno,
	accessByList: policy.OutcomeByList,
}

const (
	accessByList = "lists"
	everybody    = "all"
	wantWhom     = "networks, {file: FILE} or all"
)

var accessWords = []string{"accept", "reject", "silent-drop", "tarpit", "delay", "observe", "dunno", accessByList}

// accessRule is one entry of access.
type accessRule struct {
	line    int
	actions []string // one, if it is right
	do      policy.Outcome
	whom    whom
	terms   []policy.Term // further conditions
	tables  []int         // lists
	text    at[string]
	period  at[time.Duration] // for
}

// whom is what an action names: everybody, or some lists.
type whom struct {
	node ast.Node
	all  bool
	any  []policy.Test
}

// access reads the rules of a frontend.
func (r *yamlReader) access(f *rawProxy, key string, node ast.Node) {
	var final at[bool]
	r.list(key, node, true, func(item ast.Node) {
		before := len(r.errs)
		a := accessRule{line: lineOf(item)}
		r.accessEntry(&a, key, item)
		if len(r.errs) > before {
			return
		}
		if final.set() {
			r.warn(a.line, "access: no client gets to this rule, because that on line %d is for all", final.line)
		}
		rules := r.accessRules(&a)
		for i := range rules {
			if final.value = len(rules[i].When) == 0 && rules[i].Do.Kind != policy.OutcomeByList; final.value && !final.set() {
				final.line = a.line
			}
		}
		f.front.Access = append(f.front.Access, rules...)
	})
}

// accessEntry reads one rule: an action with those whom it is for, and what narrows it down.
func (r *yamlReader) accessEntry(a *accessRule, key string, item ast.Node) {
	if word, ok := item.(*ast.StringNode); ok { // an action alone is for everybody
		if action := r.oneOf(a.line, key, word.Value, accessWords[:4]); action != "" {
			a.actions, a.whom.all = []string{action}, true
			a.do.Kind = accessActions[action]
		}
		return
	}
	if !r.isMapping(key, item) {
		return
	}
	var unless ast.Node
	keys := yamlKeys{
		"for": func(key string, node ast.Node) {
			d, _ := r.duration(key, node)
			a.period = at[time.Duration]{d, lineOf(node)}
		},
		"text":      func(key string, node ast.Node) { a.text = r.checked(key, "an SMTP reply", node, checkReply) },
		"signature": func(key string, node ast.Node) { r.signatures(a, key, node) },
		"unless":    func(_ string, node ast.Node) { unless = node },
	}
	for _, action := range accessWords {
		keys[action] = func(action string, node ast.Node) {
			a.actions = append(a.actions, action)
			a.whom.node, a.do.Kind = node, accessActions[action]
		}
	}
	before := len(r.errs)
	r.mapping(key, item, keys)
	if len(a.actions) == 0 && len(r.errs) > before { // the unknown key is what it is about
		return
	}
	if !r.checkEntry(a, key) {
		return
	}
	if action := a.actions[0]; action == accessByList {
		r.list(action, a.whom.node, true, func(item ast.Node) {
			if l, ok := r.listFile(action, item, lists.Postfix); ok {
				a.tables = append(a.tables, r.raw.list(l))
			}
		})
	} else {
		r.whom(&a.whom, action, onlyOf(a.do.Kind))
	}
	if unless != nil {
		w := whom{node: unless}
		r.whom(&w, "unless", lists.Permit)
		if w.all {
			r.expected(lineOf(unless), "unless", "networks or {file: FILE}", everybody)
		}
		a.terms = append(a.terms, policy.Term{Not: true, Any: w.any})
	}
}

// checkEntry reports an entry whose keys do not belong together.
func (r *yamlReader) checkEntry(a *accessRule, key string) bool {
	before := len(r.errs)
	if len(a.actions) != 1 {
		r.add(Error{Line: a.line, Keyword: key, Expected: "one of " + orList(accessWords), Found: quote(strings.Join(a.actions, ", "))})
		return false
	}
	action := a.actions[0]
	if a.text.set() && action != "reject" {
		r.wrong(a.text.line, "text", "belongs to reject, and this rule is %s", action)
	}
	switch {
	case a.period.set() && action != "delay":
		r.wrong(a.period.line, "for", "belongs to delay, and this rule is %s", action)
	case !a.period.set() && action == "delay":
		r.add(Error{Line: a.line, Keyword: action, Expected: "for: how long they wait", Found: "nothing"})
	}
	return len(r.errs) == before
}

// onlyOf says which lines of a Postfix table are about a rule's clients: those that permit them, or those that reject them.
func onlyOf(k policy.OutcomeKind) lists.Action {
	if k == policy.OutcomeAccept || k == policy.OutcomeDunno || k == policy.OutcomeTalk {
		return lists.Permit
	}
	return lists.Reject
}

// whom reads a list of networks and files, or all.
func (r *yamlReader) whom(w *whom, key string, only lists.Action) {
	var networks []netip.Prefix
	line := lineOf(w.node)
	r.list(key, w.node, true, func(item ast.Node) {
		if isKeys(item) {
			if l, ok := r.listFile(key, item, lists.Plain); ok {
				if l.Syntax == lists.Postfix {
					l.Only = only
					l.Name += " (" + only.String() + ")" // of its lines only these count, and they are counted alone
				}
				w.any = append(w.any, policy.Test{List: r.raw.list(l)})
			}
			return
		}
		s, ok := r.text(key, wantWhom, item)
		switch {
		case !ok:
		case s.value == everybody:
			w.all = true
		default:
			n, err := lists.ParseNetwork(s.value, lists.Plain)
			if err != nil {
				r.wrong(s.line, key, "%v", asReason(err))
				return
			}
			networks = append(networks, n)
		}
	})
	if len(networks) > 0 {
		name := key + " " + networks[0].String()
		if len(networks) > 1 {
			name += " ..."
		}
		w.any = append(w.any, policy.Test{List: r.raw.list(List{Name: name, Where: r.place(line), Line: line, Networks: networks})})
	}
	if w.all && len(w.any) > 0 {
		r.wrong(line, key, "%s is everybody: leave out the others, or %s", everybody, everybody)
	}
}

// listFile reads {file, syntax}, or the path of a file.
func (r *yamlReader) listFile(key string, node ast.Node, otherwise lists.Syntax) (l List, ok bool) {
	before := len(r.errs)
	var path at[string]
	l = List{Line: lineOf(node), Where: r.place(lineOf(node)), Syntax: otherwise}
	if !isKeys(node) {
		path, _ = r.text(key, "the path of a file", node)
	} else {
		r.mapping(key, node, yamlKeys{
			"file": func(key string, node ast.Node) { path, _ = r.text(key, "the path of a file", node) },
			"syntax": func(key string, node ast.Node) {
				all := []lists.Syntax{lists.Plain, lists.HAProxy, lists.Postfix}
				var known []string
				for _, s := range all {
					known = append(known, s.String())
				}
				if s, ok := r.text(key, orList(known), node); ok {
					l.Syntax = all[max(0, slices.Index(known, r.oneOf(s.line, key, s.value, known)))]
				}
			},
		})
	}
	if path.value == "" && len(r.errs) == before {
		r.wrong(l.Line, key, "needs file: where the networks are")
	}
	if key == accessByList && l.Syntax != lists.Postfix && len(r.errs) == before {
		r.wrong(l.Line, key, "a file in syntax %s does not say what becomes of its networks: write accept, reject or another action in "+
			"place of lists", l.Syntax)
	}
	l.File = r.beside(path.value)
	l.Name = l.File
	return l, len(r.errs) == before
}

// signatures reads one pattern, or several.
func (r *yamlReader) signatures(a *accessRule, key string, node ast.Node) {
	var t policy.Term
	r.list(key, node, true, func(item ast.Node) {
		text := scalarText(item) // YAML reads 1024_00_00_00 as a number
		if text == "" {
			r.mismatch(key, "a signature as in 64240_2-4-8-1-3_1460_7, * for any value", item)
			return
		}
		pattern, err := policy.ParsePattern(text)
		if err != nil {
			r.wrong(lineOf(item), key, "%v", err)
			return
		}
		t.Any = append(t.Any, policy.Test{Kind: policy.TestSignature, Signature: pattern})
	})
	a.terms = append(a.terms, t)
}

// accessRules returns the rules of an entry: one, or one for each file of lists.
func (r *yamlReader) accessRules(a *accessRule) []policy.Rule {
	do := a.do
	do.Delay = a.period.value
	if do.Kind == policy.OutcomeTalk {
		do.Talk = policy.TalkObserve
	}
	if a.text.set() {
		do.Text = policy.Text(a.text.value + "\r\n")
	}
	terms := a.terms
	if !a.whom.all && do.Kind != policy.OutcomeByList {
		terms = append([]policy.Term{{Any: a.whom.any}}, terms...)
	}
	one := policy.Rule{Name: "access " + a.actions[0], Where: r.place(a.line), Do: do}
	if len(terms) > 0 {
		one.When = policy.Condition{terms}
	}
	if do.Kind != policy.OutcomeByList {
		return []policy.Rule{one}
	}
	var out []policy.Rule
	for _, list := range a.tables {
		one.Name, one.Do.List = "access lists "+r.raw.lists[list].File, list
		out = append(out, one)
	}
	return out
}
