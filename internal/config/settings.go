package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// setting is one setting of a T: the process, a section, a server. All that is known of it is here. The parsers of both
// syntaxes, the defaults and the test that compares the reference with the code all read it.
type setting[T any] struct {
	word string // HAProxy's word: "maxconn", "timeout client"; empty: HAProxy has none
	not  string // on a server's line, the word that switches it off again
	key  string // the YAML key: "maxconn", "timeout.client"; empty: none
	kind[T]

	in           section // the sections of HAProxy's syntax where it has an effect; only for settings of a section, like the next seven
	structural   bool    // elsewhere it is an error, not just without effect
	anonymousToo bool    // it may stand in a defaults section that has no name
	notServed    bool    // HAProxy knows it in a backend, hushgate does not
	canNegate    bool    // "no" may stand before it
	least        int     // the least number of arguments
	want         string  // a description of the arguments
	most         int     // the largest number of arguments of an option

	about     string // its meaning, with which the reference begins
	otherwise string // its default in the reference's words, if the kind does not know it or it needs an explanation
	older     bool   // a name that only old files have; the reference does not list it
}

// kind says how a value is read, and what its default is.
type kind[T any] struct {
	// line reads the words after the setting's name. Both line and node report whether they set anything.
	line func(p *haproxyParser, to *T, name string, args []string, negated bool) bool
	node func(r *yamlReader, to *T, key string, node ast.Node) bool
	// fill sets the default. shown is how the reference writes it.
	fill  func(to *T)
	shown string
	// values is the number of words that belong to it on a server's line.
	values int
}

// The tables. (init makes them: their handlers refer to them for suggestions.)
var (
	globalSettings    []setting[rawGlobal]
	captureSettings   []setting[rawGlobal] // a part of globalSettings
	offendersSettings []setting[rawGlobal] // another one
	frontendSettings  []setting[rawProxy]  // includes the settings that both sides have; in YAML the keys of frontends
	backendSettings   []setting[rawProxy]
	proxySettings     []setting[rawProxy] // both tables
	serverSettings    []setting[rawServer]
	bindSettings      []setting[bindWords]
	logSettings       []setting[LogTarget]
)

func init() {
	globalSettings, captureSettings, offendersSettings = globalTable(), captureTable(), offendersTable()
	frontendSettings, backendSettings = frontendTable(), backendTable()
	proxySettings = slices.Concat(frontendSettings, backendSettings)
	serverSettings, bindSettings, logSettings = serverTable(), bindTable(), logTable()
}

// name returns the setting's name where only one name can be shown.
func (s *setting[T]) name() string {
	if s.word != "" {
		return s.word
	}
	return s.key
}

// lines maps the name of a setting to the line that set it.
type lines map[string]int

// set reports whether a line has set the setting.
func (l lines) set(name string) bool { return l[name] > 0 }

// fill sets the defaults of a table in to.
func fill[T any](table []setting[T], to *T) {
	for _, s := range table {
		if s.fill != nil {
			s.fill(to)
		}
	}
}

// findWord finds the setting with one or two HAProxy words. A word with a blank in it was quoted in the file and matches no
// setting.
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

// wordsAfter lists the HAProxy words that may follow a keyword ("timeout"), or, with an empty keyword, begin a line.
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

// keysOf returns the handlers of a table's keys. A key with a dot belongs to a mapping of its own.
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
