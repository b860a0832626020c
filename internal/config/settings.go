package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// setting is one thing that a file may say about a T: the process, a section, a server. Whatever is known of it stands here, and
// the parsers of both syntaxes, the defaults and the test that compares the reference with the code all read it here.
type setting[T any] struct {
	word string // HAProxy's: "maxconn", "timeout client"; empty: it has none
	not  string // on a server's line, the word that takes it back
	key  string // YAML's: "maxconn", "timeout.client"; empty: it has none
	kind[T]

	in           section // of HAProxy's syntax, where it has a meaning; of a section's settings alone, as are the next seven
	structural   bool    // elsewhere it is an error, not just without effect
	anonymousToo bool    // it may stand in a defaults section that has no name
	notServed    bool    // HAProxy knows it in a backend, hushgate does not
	canNegate    bool    // "no" may stand before it
	least        int     // arguments
	want         string  // what they are
	most         int     // arguments of an option

	about     string // its meaning, as the reference begins to tell it
	otherwise string // its default in the reference's words, where the kind does not know it or it wants explaining
	older     bool   // a name that only old files have, and the reference does not
}

// kind is how a value is read, and what it is when no file says.
type kind[T any] struct {
	// line reads the words after the setting's own. Both line and node report whether they set anything.
	line func(p *haproxyParser, to *T, name string, args []string, negated bool) bool
	node func(r *yamlReader, to *T, key string, node ast.Node) bool
	// fill sets the default, and shown is how the reference writes it.
	fill  func(to *T)
	shown string
	// values is how many words belong to it on a server's line.
	values int
}

// The tables. (Made by init, as handlers in them refer to them for suggestions.)
var (
	globalSettings   []setting[rawGlobal]
	captureSettings  []setting[rawGlobal] // a part of the former
	frontendSettings []setting[rawProxy]  // with what both sides have; in YAML the keys of frontends
	backendSettings  []setting[rawProxy]
	proxySettings    []setting[rawProxy] // both
	serverSettings   []setting[rawServer]
	bindSettings     []setting[bindWords]
	logSettings      []setting[LogTarget]
)

func init() {
	globalSettings, captureSettings = globalTable(), captureTable()
	frontendSettings, backendSettings = frontendTable(), backendTable()
	proxySettings = slices.Concat(frontendSettings, backendSettings)
	serverSettings, bindSettings, logSettings = serverTable(), bindTable(), logTable()
}

// name is how a setting is called where only one name can be used.
func (s *setting[T]) name() string {
	if s.word != "" {
		return s.word
	}
	return s.key
}

// lines are those on which settings were made, by their names.
type lines map[string]int

// set reports whether a line has made a setting.
func (l lines) set(name string) bool { return l[name] > 0 }

// fill sets the defaults of a table.
func fill[T any](table []setting[T], to *T) {
	for _, s := range table {
		if s.fill != nil {
			s.fill(to)
		}
	}
}

// findWord finds the setting of HAProxy's words, one or two. A word with a blank in it was quoted in the file, and is none.
func findWord[T any](table []setting[T], words ...string) *setting[T] {
	word := strings.Join(words, " ")
	i := slices.IndexFunc(table, func(s setting[T]) bool { return s.word == word || s.not == word })
	if word == "" || strings.Count(word, " ") != len(words)-1 {
		return nil
	}
	if i < 0 {
		return nil
	}
	return &table[i]
}

// wordsAfter lists HAProxy's words for what may follow a keyword ("timeout"), or those of a line's beginning.
func wordsAfter[T any](table []setting[T], keyword string) (words []string) {
	for _, s := range table {
		first, second, two := strings.Cut(s.word, " ")
		switch {
		case s.word == "":
		case keyword == "" && !two:
			words = append(words, s.word)
			if s.not != "" {
				words = append(words, s.not)
			}
		case two && first == keyword:
			words = append(words, second)
		}
	}
	slices.Sort(words)
	return words
}

// keysOf returns the handlers of a table's keys. Those with a dot are keys of a mapping of their own.
func keysOf[T any](r *yamlReader, table []setting[T], to *T, made lines) yamlKeys {
	keys, inner := yamlKeys{}, map[string]yamlKeys{}
	for _, s := range table {
		if s.key == "" {
			continue
		}
		read := func(key string, node ast.Node) {
			if s.node(r, to, key, node) && made != nil {
				made[s.name()] = lineOf(node)
			}
		}
		outer, name, nested := strings.Cut(s.key, ".")
		if !nested {
			keys[s.key] = read
			continue
		}
		if inner[outer] == nil {
			inner[outer] = yamlKeys{}
			keys[outer] = func(key string, node ast.Node) { r.mapping(key, node, inner[outer]) }
		}
		inner[outer][name] = read
	}
	return keys
}
