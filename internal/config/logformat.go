package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"hushgate/internal/logformat"
)

// logFormatKind is the setting log-format: a format of HAProxy's, in YAML also the name of one of ours.
func logFormatKind() kind[rawProxy] {
	names := []string{string(LogTCP), string(LogJSON), string(LogPostscreen), string(LogPflogsumm), string(LogNone)}
	return kind[rawProxy]{
		shown: "`" + string(LogTCP) + "`", fill: func(p *rawProxy) { p.front.LogFormat = LogTCP },
		line: func(p *haproxyParser, to *rawProxy, name string, args []string, _ bool) bool {
			p.atMost(name, args, 1)
			if before := p.proxy.lines[name]; p.proxy.kind == inDefaults && before > p.proxy.line { // as HAProxy
				p.note(p.line, "%s replaces the format of line %d", name, before)
			}
			s := argument(args)
			if _, err := logformat.Parse(s); err != nil {
				p.add(Error{Line: p.line, Keyword: name, Expected: wantFormat, Found: quote(s), Reason: err.Error()})
				return false
			}
			to.front.LogFormat, to.front.LogString = LogCustom, s
			return true
		},
		node: func(r *yamlReader, to *rawProxy, key string, node ast.Node) bool {
			want := orList(append(slices.Clone(names), "a format with variables such as %ci"))
			s, ok := r.text(key, want, node)
			switch {
			case !ok:
				return false
			case slices.Contains(names, s.value):
				to.front.LogFormat = LogFormat(s.value)
				return true
			case !strings.Contains(s.value, "%"):
				r.add(Error{Line: s.line, Keyword: key, Expected: want, Found: quote(s.value), Suggestion: nearest(s.value, names)})
				return false
			}
			if _, err := logformat.Parse(s.value); err != nil {
				r.add(Error{Line: s.line, Keyword: key, Expected: wantFormat, Found: quote(s.value), Reason: err.Error()})
				return false
			}
			to.front.LogFormat, to.front.LogString = LogCustom, s.value
			return true
		},
	}
}

const wantFormat = "text and variables such as %ci, %{+Q}b or %[src]"
