package lists

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// block is an if that waits for its endif.
type block struct {
	line   int
	region []netip.Prefix // what an address must be in for the lines inside, all blocks around this one included
}

// maxDepth bounds how deep blocks may nest.
const maxDepth = 64

// postfix reads a CIDR table.
func (p *parser) postfix(text []byte) {
	for line, rest := 1, text; len(rest) > 0; {
		var logical string
		var at int
		logical, at, line, rest = p.logical(line, rest)
		if logical != "" && !p.statement(at, logical) {
			return
		}
	}
	for _, open := range p.blocks {
		p.wrong(open.line, &Problem{Expected: "an endif for this if", Found: "the end of the file"})
	}
}

// logical reads one logical line: a line and those after it that begin with white space. Empty lines and comments are skipped,
// also between these. It returns the text, the line where it begins, and the number and the text of what follows.
func (p *parser) logical(line int, rest []byte) (logical string, at, next int, after []byte) {
	var b strings.Builder
	for ; len(rest) > 0; line++ {
		now, later := cutLine(rest)
		trimmed := bytes.Trim(now, blanks)
		continues := len(now) > 0 && strings.IndexByte(blanks, now[0]) >= 0
		switch {
		case len(trimmed) == 0 || trimmed[0] == '#':
		case continues && at == 0:
			p.wrong(line, &Problem{
				Expected: "a pattern at the beginning of the line", Found: "white space",
				Reason: "it continues the line before, and there is none",
			})
		case !continues && at != 0:
			return b.String(), at, line, rest
		case b.Len()+len(now) > maxLine:
			p.wrong(line, tooLong(now))
			if at == 0 {
				at = line
			}
		default:
			if at == 0 {
				at = line
			}
			b.Write(now)
		}
		rest = later
	}
	return b.String(), at, line, nil
}

// statement reads one logical line, and reports whether to go on.
func (p *parser) statement(line int, s string) bool {
	word, text := cutWord(s)
	switch {
	case strings.EqualFold(word, "endif"):
		p.endif(line, text)
		return true
	case len(s) >= 2 && strings.EqualFold(s[:2], "if") && (len(s) == 2 || !isAlnum(s[2])):
		p.beginIf(line, strings.Trim(s[2:], blanks))
		return true
	}
	return p.rule(line, s)
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// cutWord returns the first word of s, and what follows it without the white space around it.
func cutWord(s string) (word, text string) {
	if i := strings.IndexAny(s, blanks); i >= 0 {
		return s[:i], strings.Trim(s[i:], blanks)
	}
	return s, ""
}

func (p *parser) beginIf(line int, s string) {
	pat, text, problem := parsePattern(s)
	switch {
	case problem != nil:
	case text != "":
		problem = &Problem{Expected: "nothing after the pattern of an if", Found: quote(text)}
	case len(p.blocks) >= maxDepth:
		problem = &Problem{Expected: fmt.Sprintf("at most %d if within each other", maxDepth), Found: "one more"}
	}
	inside := block{line: line} // matches nothing if the pattern is wrong: the lines inside are still read for their mistakes
	if problem != nil {
		p.wrong(line, problem)
	} else {
		inside.region = p.within(pat)
	}
	p.blocks = append(p.blocks, inside)
}

func (p *parser) endif(line int, text string) {
	if text != "" {
		p.wrong(line, &Problem{Expected: "nothing after endif", Found: quote(text)})
	}
	if len(p.blocks) == 0 {
		p.wrong(line, &Problem{Expected: "an if before this endif", Found: "none"})
		return
	}
	p.blocks = p.blocks[:len(p.blocks)-1]
}

// rule reads a pattern and its result, and reports whether to go on.
func (p *parser) rule(line int, s string) bool {
	pat, text, problem := parsePattern(s)
	if problem != nil {
		p.wrong(line, problem)
		return true
	}
	r, problem := parseResult(text)
	if problem != nil {
		p.wrong(line, problem)
		return true
	}
	return p.entry(line, r, p.within(pat))
}

// within returns where pat matches inside the blocks that are open.
func (p *parser) within(pat pattern) []netip.Prefix {
	region := pat.region()
	if n := len(p.blocks); n > 0 {
		region = intersect(p.blocks[n-1].region, region)
	}
	return region
}

// parsePattern reads [!...]NETWORK, where brackets may stand around the network or its address, and returns what follows it.
func parsePattern(s string) (pat pattern, text string, problem *Problem) {
	for s != "" && strings.IndexByte("!"+blanks, s[0]) >= 0 {
		if s[0] == '!' {
			pat.not = !pat.not
		}
		s = s[1:]
	}
	word, text := cutWord(s)
	plain := word
	if inner, ok := strings.CutPrefix(word, "["); ok {
		in, length, closed := strings.Cut(inner, "]")
		if !closed || length != "" && length[0] != '/' {
			return pat, text, &Problem{Expected: wantNetwork + ", or one in brackets", Found: quote(word)}
		}
		plain = in + length
	}
	pat.network, problem = parseNetwork(plain, false)
	if problem != nil {
		problem.Found = quote(word)
	}
	return pat, text, problem
}
