package lists

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// Syntax is how a file is written.
type Syntax uint8

// The syntaxes.
const (
	// Plain has one address or network on a line; # or ; begins a comment that ends with the line. The lists that
	// Spamhaus publishes as DROP are written so.
	Plain Syntax = iota
	// HAProxy is Plain with what HAProxy's pattern files allow beside it: masks like 255.0.0.0, and host bits, which are
	// ignored.
	HAProxy
	// Postfix is a CIDR table: a pattern and a result on a logical line, see cidr_table(5).
	Postfix
)

// String returns the syntax's name.
func (s Syntax) String() string {
	switch s {
	case Plain:
		return "plain"
	case HAProxy:
		return "haproxy"
	case Postfix:
		return "postfix"
	}
	return fmt.Sprintf("Syntax(%d)", s)
}

// Limits bounds what is read. A value of 0 stands for the default.
type Limits struct {
	Octets  int64 // of the file; 128 MiB by default
	Entries int   // 2,000,000 by default
}

const (
	defaultOctets  = 128 << 20
	defaultEntries = 2_000_000
	maxLine        = 4096 // octets of a line, and of a logical line
)

func (l Limits) withDefaults() Limits {
	if l.Octets == 0 {
		l.Octets = defaultOctets
	}
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	return l
}

// Read reads the file at path. The error is a *Problems if the file was there and is wrong.
func Read(path string, syntax Syntax, limits Limits) (*Table, error) {
	text, _, err := load(path, limits.withDefaults().Octets)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, syntax, limits)
}

// Parse reads the text of a file, which name stands for in errors. The text is not kept.
func Parse(name string, text []byte, syntax Syntax, limits Limits) (*Table, error) {
	limits = limits.withDefaults()
	p := parser{name: name, limits: limits, builder: newBuilder(name)}
	switch {
	case int64(len(text)) > limits.Octets:
		return nil, tooLarge(name, limits.Octets)
	case syntax == Postfix:
		p.postfix(text)
	default:
		p.plain(text, syntax == HAProxy)
	}
	if len(p.problems.List) > 0 {
		return nil, &p.problems
	}
	return p.builder.table, nil
}

// parser reads one file.
type parser struct {
	name     string
	limits   Limits
	builder  *builder
	problems Problems
	blocks   []block // of if that are open, Postfix alone
}

// wrong notes a mistake of a line.
func (p *parser) wrong(line int, problem *Problem) {
	problem.File, problem.Line = p.name, line
	p.problems.add(*problem)
}

// entry adds an entry, and reports whether there may be more of them.
func (p *parser) entry(line int, r result, prefixes []netip.Prefix) bool {
	if p.builder.table.Len() >= p.limits.Entries {
		p.wrong(line, &Problem{Expected: fmt.Sprintf("at most %d entries", p.limits.Entries), Found: "one more"})
		return false
	}
	if err := p.builder.add(line, r, prefixes); err != nil {
		p.wrong(line, &Problem{Reason: err.Error()})
		return false
	}
	return true
}

// plain reads a file with one network on a line.
func (p *parser) plain(text []byte, haproxy bool) {
	one := make([]netip.Prefix, 1)
	for line, rest := 1, text; len(rest) > 0; line++ {
		var now []byte
		now, rest = cutLine(rest)
		if len(now) > maxLine {
			p.wrong(line, tooLong(now))
			continue
		}
		s := string(now)
		if i := strings.IndexAny(s, "#;"); i >= 0 {
			s = s[:i]
		}
		if s = strings.Trim(s, blanks); s == "" {
			continue
		}
		network, problem := parseNetwork(s, haproxy)
		if problem != nil {
			p.wrong(line, problem)
			continue
		}
		if one[0] = network; !p.entry(line, result{}, one) {
			return
		}
	}
}

// blanks are the characters that isspace(3) knows.
const blanks = " \t\n\v\f\r"

// cutLine returns the first line of text without its end, and what follows.
func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte{'\n'})
	return line, rest
}

func tooLong(line []byte) *Problem {
	return &Problem{Expected: fmt.Sprintf("at most %d octets on a line", maxLine), Found: fmt.Sprintf("%d: %s", len(line), quote(line))}
}

func tooLarge(name string, most int64) error {
	return &Problems{List: []*Problem{{File: name, Expected: fmt.Sprintf("at most %d octets", most), Found: "more"}}}
}

// stamp tells two states of a file apart.
type stamp struct {
	device, inode uint64
	size          int64
	modified      int64 // ns since 1970
	changed       int64 // ns since 1970: of the inode, which nobody can set back
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode, s.changed = sys.Dev, sys.Ino, sys.Ctim.Nano()
	}
	return s
}

// load reads at most so many octets of the file at path, and returns the file's stamp before it did.
func load(path string, most int64) (text []byte, s stamp, err error) {
	// A FIFO without a writer must not stop us: it is refused as soon as it is open.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, s, fmt.Errorf("read list: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, s, fmt.Errorf("read list: %w", err)
	case !info.Mode().IsRegular():
		return nil, s, fmt.Errorf("read list %s: expected a regular file, found a file of type %s", path, info.Mode().Type())
	case info.Size() > most:
		return nil, stampOf(info), tooLarge(path, most)
	}
	text, err = io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, s, fmt.Errorf("read list: %w", err)
	}
	return text, stampOf(info), nil
}
