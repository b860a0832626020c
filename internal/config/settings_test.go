package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// reference is docs/configuration.md: the rows of its tables, by the heading above them.
type reference map[string][]row

// row is one row of a table. Its names are the words in backquotes in the first cell.
type row struct {
	names                     []string
	of                        string // "...": a word of a bind's or a server's line
	meaning, mentioned, value string
}

var (
	backquoted = regexp.MustCompile("`([^`]+)`")
	settingRow = regexp.MustCompile(`^\| *(\.\.\.|server)? *(` + "`.*" + `)$`)
)

func readReference(t *testing.T) reference {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	ref, heading := reference{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			heading = strings.TrimLeft(line, "# ")
		}
		m := settingRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(m[2], `\|`, "/"), "|")
		if len(cells) < 3 {
			t.Fatalf("a row of less than three cells: %s", line)
		}
		ref[heading] = append(ref[heading], row{
			names: namesIn(cells[0]), of: m[1], meaning: cells[1], mentioned: cells[0] + cells[1], value: cells[2],
		})
	}
	return ref
}

func namesIn(text string) (names []string) {
	for _, m := range backquoted.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// The headings of the reference.
const (
	globalHeading   = "global"
	frontendHeading = "defaults, frontend, listen: the clients' side"
	backendHeading  = "defaults, backend, listen: the servers' side"
	yamlHeading     = "YAML"
)

// TestReferenceHasEverySetting: each setting of each table has a row in the reference, with its meaning and its default.
func TestReferenceHasEverySetting(t *testing.T) {
	ref := readReference(t)
	checkWords(t, globalSettings, ref[globalHeading], "")
	checkWords(t, frontendSettings, ref[frontendHeading], "")
	checkWords(t, bindSettings, ref[frontendHeading], "...")
	checkWords(t, backendSettings, ref[backendHeading], "")
	checkWords(t, serverSettings, ref[backendHeading], "server")
	checkKeys(t, globalSettings, ref[yamlHeading], "")
	checkKeys(t, frontendSettings, ref[yamlHeading], "frontends[].")
	checkKeys(t, backendSettings, ref[yamlHeading], "backends[].")
	checkKeys(t, serverSettings, ref[yamlHeading], "backends[].servers[].")
	checkKeys(t, bindSettings, ref[yamlHeading], "frontends[].bind.")
	checkKeys(t, logSettings, ref[yamlHeading], "log.")
}

// value returns a setting's default as the reference writes it.
func (s *setting[T]) value() string {
	if s.otherwise != "" {
		return s.otherwise
	}
	return s.shown
}

func checkWords[T any](t *testing.T, table []setting[T], rows []row, of string) {
	for _, s := range table {
		if s.word == "" || s.older {
			continue
		}
		named := func(r row) bool {
			lone := r.of == "" && of != "..." || r.of == of || r.of == "..." && of == "server"
			return lone && slices.ContainsFunc(r.names, func(n string) bool { return n == s.word || strings.HasPrefix(n, s.word+" ") })
		}
		checkRow(t, "`"+s.word+"`", rows, named, s.about, s.value())
		if s.not != "" && !slices.ContainsFunc(rows, func(r row) bool { return strings.Contains(r.mentioned, "`"+s.not+"`") }) {
			t.Errorf("`%s` is nowhere", s.not)
		}
	}
}

// checkRow looks for one row in which everything is right.
func checkRow(t *testing.T, name string, rows []row, named func(row) bool, about, value string) {
	found := false
	for _, r := range rows {
		if !named(r) {
			continue
		}
		found = true
		if strings.Contains(r.meaning, about) && strings.Contains(r.value, value) {
			return
		}
	}
	if !found {
		t.Errorf("%s has no row", name)
		return
	}
	t.Errorf("%s: no row with the meaning %q and the default %q", name, about, value)
}

func checkKeys[T any](t *testing.T, table []setting[T], rows []row, place string) {
	for _, s := range table {
		key := place + s.key
		if s.key == "" || s.older || slices.ContainsFunc(rows, func(r row) bool { return slices.Contains(r.listed(), key) }) {
			continue
		}
		named := func(r row) bool { return slices.Contains(r.names, key) || slices.Contains(r.names, key+"[]") }
		about := s.about
		if i := slices.IndexFunc(rows, named); i >= 0 && s.word != "" && rows[i].asInHAProxy() {
			about = ""
		}
		checkRow(t, "`"+key+"`", rows, named, about, s.value())
	}
}

// asInHAProxy reports whether the row of a key refers to HAProxy's word for its meaning.
func (r row) asInHAProxy() bool {
	m := strings.TrimSpace(r.meaning)
	return m == "" || strings.HasPrefix(m, "as `") || strings.HasSuffix(r.names[0], "[]")
}

// listed returns the keys that a row lists as its meaning: "`name`, `timeout.client`, `.client-fin`", or "`{address,
// interface}`".
func (r row) listed() (keys []string) {
	place, isList := strings.CutSuffix(r.names[0], "[]")
	outer := ""
	for _, name := range namesIn(r.meaning) {
		if inner, ok := strings.CutPrefix(name, "{"); ok {
			for _, key := range strings.Split(strings.TrimSuffix(inner, "}"), ", ") {
				keys = append(keys, r.names[0]+"."+key)
			}
		}
		if !isList {
			continue
		}
		if strings.HasPrefix(name, ".") {
			name = outer + name
		}
		outer, _, _ = strings.Cut(name, ".")
		keys = append(keys, place+"[]."+name)
	}
	return keys
}

// TestReferenceNamesSettingsAlone: each name that the reference calls a setting in HAProxy's syntax is one.
func TestReferenceNamesSettingsAlone(t *testing.T) {
	ref := readReference(t)
	words := regexp.MustCompile(`^(?:no )?([a-z][a-z0-9_-]*)(?: ([a-z][a-z-]*))?`)
	for _, heading := range []string{globalHeading, frontendHeading, backendHeading} {
		for _, r := range ref[heading] {
			for _, name := range r.names {
				if m := words.FindStringSubmatch(name); m != nil && !isSetting(heading, r.of, m[1], m[2]) {
					t.Errorf("under %q: `%s` is no setting", heading, name)
				}
			}
		}
	}
}

// isSetting reports whether a row's first words name a setting that belongs under the heading.
func isSetting(heading, of, first, second string) bool {
	switch {
	case heading == globalHeading:
		return findWord(globalSettings, first) != nil
	case of != "" && heading == frontendHeading:
		return findWord(bindSettings, first) != nil
	case of != "":
		return findWord(serverSettings, first) != nil
	case first == "option" || first == "timeout":
		return findWord(proxySettings, first, second) != nil
	}
	return findWord(proxySettings, first) != nil
}

// TestReferenceNamesKeysAlone: each name that the reference calls a YAML key is one.
func TestReferenceNamesKeysAlone(t *testing.T) {
	keys := slices.Concat([]string{
		"frontends[]", "backends[]", "backends[].servers[]", "backends[].servers[].name", "backends[].servers[].address",
	},
		keysIn(globalSettings, ""), keysIn(frontendSettings, "frontends[]."), keysIn(backendSettings, "backends[]."),
		keysIn(serverSettings, "backends[].servers[]."), keysIn(bindSettings, "frontends[].bind."), keysIn(logSettings, "log."))
	for _, r := range readReference(t)[yamlHeading] {
		listed := slices.DeleteFunc(r.listed(), func(key string) bool { return strings.Contains(key, "ADDR") }) // a value
		for _, key := range slices.Concat(r.names, listed) {
			if !slices.Contains(keys, key) {
				t.Errorf("`%s` is no key", key)
			}
		}
	}
}

func keysIn[T any](table []setting[T], place string) (keys []string) {
	for _, s := range table {
		if s.key != "" {
			keys = append(keys, place+s.key)
		}
	}
	return keys
}

// TestExampleHasEveryKey: gateway.yaml shows each YAML key.
func TestExampleHasEveryKey(t *testing.T) {
	var file any
	if err := yaml.Unmarshal(read(t, "../../docs/examples/gateway.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	showKeys(shown, file, "")
	for _, key := range slices.Concat(keysIn(globalSettings, ""), keysIn(frontendSettings, "frontends[]."),
		keysIn(backendSettings, "backends[]."), keysIn(serverSettings, "backends[].servers[]."),
		keysIn(bindSettings, "frontends[].bind[]."), keysIn(logSettings, "log[].")) {
		if !shown[key] && !shown[strings.Replace(key, "servers[]", "default-server", 1)] && key != "frontends[].reject" { // an older name
			t.Errorf("`%s` is not shown", key)
		}
	}
}

// showKeys adds the keys of a tree. All members of a list count together.
func showKeys(shown map[string]bool, tree any, place string) {
	switch v := tree.(type) {
	case []any:
		for _, member := range v {
			showKeys(shown, member, place+"[]")
		}
	case map[string]any:
		for key, value := range v {
			inner := strings.TrimPrefix(place+"."+key, ".")
			shown[inner] = true
			showKeys(shown, value, inner)
		}
	}
}
