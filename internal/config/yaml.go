package config

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// yamlReader walks the tree of a YAML file and fills in the raw form. Decoding into structs would stop at the first error
// and lose the line numbers; the tree keeps both.
type yamlReader struct {
	*problems
	raw rawConfig
}

// yamlKeys maps each key of a mapping to the handler of its value.
type yamlKeys map[string]func(key string, value ast.Node)

// parseYAML reads a file in hushgate's own syntax. It adds errors to p.
func parseYAML(p *problems, text []byte) rawConfig {
	r := yamlReader{problems: p, raw: newRaw()}
	r.raw.native = true
	if len(text) > 0 && text[len(text)-1] != '\n' {
		p.warn(1+bytes.Count(text, []byte{'\n'}), "the last line does not end in a newline: the file may have been truncated")
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		r.syntax(err)
		return r.raw
	}
	var docs []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			docs = append(docs, doc.Body)
		}
	}
	switch len(docs) {
	case 0:
		r.wrong(1, "frontends", "the file is empty, so there is nothing to serve")
	case 1:
		r.top(docs[0])
	default:
		r.wrong(lineOf(docs[1]), "---", "a second document; a configuration has one")
	}
	return r.raw
}

// syntax reports an error of the YAML parser, which stops at the first one.
func (r *yamlReader) syntax(err error) {
	line, text := 1, err.Error()
	var at yaml.Error
	if errors.As(err, &at) {
		text = at.GetMessage()
		if tok := at.GetToken(); tok != nil && tok.Position != nil {
			line = max(1, tok.Position.Line)
		}
	}
	text, _, _ = strings.Cut(text, "\n")
	r.wrong(line, "syntax", "%s", text)
}

func lineOf(n ast.Node) int {
	if tok := n.GetToken(); tok != nil && tok.Position != nil {
		return max(1, tok.Position.Line)
	}
	return 1
}

// isMapping reports whether node is a mapping, and adds an error if it is not.
func (r *yamlReader) isMapping(keyword string, node ast.Node) bool {
	if !isKeys(node) {
		r.mismatch(keyword, "keys with values", node)
	}
	return isKeys(node)
}

func isKeys(node ast.Node) bool {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// mapping runs the handler of each key of node, and reports keys without a handler.
func (r *yamlReader) mapping(keyword string, node ast.Node, keys yamlKeys) {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		r.mismatch(keyword, "keys with values", node)
		return
	}
	for _, pair := range pairs {
		tok := pair.Key.GetToken()
		if tok == nil || pair.Value == nil {
			r.wrong(lineOf(pair), keyword, "a key without a value")
			continue
		}
		name := tok.Value
		if keys[name] != nil {
			keys[name](name, pair.Value)
			continue
		}
		name = r.unknown(lineOf(pair.Key), "", name, "key in "+keyword, slices.Sorted(maps.Keys(keys)))
		if name != "" && !hasKey(pairs, name) {
			r.guess(func() { keys[name](name, pair.Value) }, pair.Value)
		}
	}
}

// guess reads the value of a key that was probably meant. A value that does not fit it shows that another one was meant; what
// is wrong within a mapping or a list is wrong all the same.
func (r *yamlReader) guess(read func(), value ast.Node) {
	before := len(r.errs)
	read()
	if _, scalar := value.(ast.ScalarNode); scalar {
		r.errs = r.errs[:before]
	}
}

func hasKey(pairs []*ast.MappingValueNode, name string) bool {
	return slices.ContainsFunc(pairs, func(pair *ast.MappingValueNode) bool {
		tok := pair.Key.GetToken()
		return tok != nil && tok.Value == name
	})
}

// list runs do for each item of a sequence. If lone is true, a single item may stand without a sequence. An empty sequence
// is an error: it is most likely the result of a template with a variable that was not set.
func (r *yamlReader) list(keyword string, node ast.Node, lone bool, do func(ast.Node)) {
	seq, ok := node.(*ast.SequenceNode)
	switch {
	case ok && len(seq.Values) == 0:
		r.add(Error{Line: lineOf(node), Keyword: keyword, Expected: "a list of at least one", Found: "an empty list"})
	case ok:
		for _, item := range seq.Values {
			do(item)
		}
	case lone:
		do(node)
	default:
		r.mismatch(keyword, "a list", node)
	}
}

// mismatch reports a node of another kind than was expected.
func (r *yamlReader) mismatch(keyword, want string, node ast.Node) {
	found := ""
	switch n := node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		found = "keys with values"
	case *ast.SequenceNode:
		found = "a list"
	case *ast.NullNode:
		found = "nothing"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		found = "an anchor, alias or tag, which are not served"
	default:
		if tok := n.GetToken(); tok != nil {
			found = quote(tok.Value)
		}
	}
	r.add(Error{Line: lineOf(node), Keyword: keyword, Expected: want, Found: found})
}

// noText reports a node that is not a number, or not true or false. In quotes it may look like one.
func (r *yamlReader) noText(keyword, want string, node ast.Node) {
	tok := node.GetToken()
	if tok != nil && tok.Value != "" && (tok.Type == token.DoubleQuoteType || tok.Type == token.SingleQuoteType) {
		r.add(Error{Line: lineOf(node), Keyword: keyword, Expected: want, Found: quote(tok.Value), Reason: "YAML reads a value in quotes as a text"})
		return
	}
	r.mismatch(keyword, want, node)
}

// text returns a string value; anything else is reported.
func (r *yamlReader) text(keyword, want string, node ast.Node) (at[string], bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return at[string]{n.Value, lineOf(n)}, true
	case *ast.LiteralNode:
		if n.Value != nil {
			return at[string]{n.Value.Value, lineOf(n)}, true
		}
	}
	r.mismatch(keyword, want, node)
	return at[string]{}, false
}

// scalarText returns the file's text of a string or number.
func scalarText(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.IntegerNode:
		return n.GetToken().Value
	}
	return ""
}

// duration reads a time, which must have a unit.
func (r *yamlReader) duration(key string, node ast.Node) (d time.Duration, ok bool) {
	s := scalarText(node)
	if s == "" {
		r.mismatch(key, wantTime, node)
		return 0, false
	}
	d, err := parseTime(s, 0)
	if err != nil {
		r.badTime(lineOf(node), key, s, err)
	}
	return d, err == nil
}

// checked returns a string, and reports it if check returns an error. A wrong name is returned too, because another name may
// refer to it.
func (r *yamlReader) checked(key, want string, node ast.Node, check func(string) error) at[string] {
	switch n := node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		if value := n.GetToken().Value; check(value) == nil {
			r.add(Error{Line: lineOf(node), Keyword: key, Expected: want, Found: quote(value), Reason: "YAML reads it as a text only in quotes"})
			return at[string]{}
		}
	}
	s, ok := r.text(key, want, node)
	if !ok {
		return at[string]{}
	}
	if err := check(s.value); err != nil {
		r.add(Error{Line: s.line, Keyword: key, Expected: want, Found: quote(s.value), Reason: err.Error()})
	}
	if s.value == "" {
		return at[string]{}
	}
	return s
}
