package oracle

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// difference is a script that the targets answer differently.
type difference struct {
	script          *script
	families        []string
	linux, hushgate []exchange
	argument        *argument
}

// first returns the first segment that is answered differently, and both answers.
func (d *difference) first() (sent, linux, hushgate string) {
	for i := range d.linux {
		if l, h := d.linux[i].said(), d.hushgate[i].said(); l != h {
			return d.linux[i].sent, l, h
		}
	}
	panic("oracle: no difference")
}

func (e *exchange) said() string {
	if len(e.answers) == 0 {
		return "nothing"
	}
	return strings.Join(e.answers, " and ")
}

// outcome is the result of a run.
type outcome struct {
	kernel            string // major and minor version
	scripts, segments int
	differences       []*difference
}

// argument says why hushgate answers otherwise. It matches a difference if the script's name matches a pattern (of
// path.Match), and the answers to the first segment that is answered differently match the two regular expressions. A
// difference gets the first argument that matches.
type argument struct {
	title, text     string
	scripts         []string
	linux, hushgate string
}

func (a *argument) fits(d *difference) (pattern int, ok bool) {
	_, linux, hushgate := d.first()
	if !regexp.MustCompile(a.linux).MatchString(linux) || !regexp.MustCompile(a.hushgate).MatchString(hushgate) {
		return 0, false
	}
	pattern = slices.IndexFunc(a.scripts, func(p string) bool {
		ok, err := path.Match(p, d.script.name)
		if err != nil {
			panic(fmt.Sprintf("oracle: pattern %q: %v", p, err))
		}
		return ok
	})
	return pattern, pattern >= 0
}

// argue assigns an argument to each difference. It returns the differences without an argument, and the patterns of
// arguments without a difference.
func (o *outcome) argue() (missing, unused []string) {
	used := map[string]bool{}
	for _, d := range o.differences {
		for i := range arguments {
			if p, ok := arguments[i].fits(d); ok {
				d.argument = &arguments[i]
				used[fmt.Sprintf("%q: pattern %q", d.argument.title, d.argument.scripts[p])] = true
				break
			}
		}
		if d.argument == nil {
			missing = append(missing, d.text())
		}
	}
	for i := range arguments {
		for _, p := range arguments[i].scripts {
			if key := fmt.Sprintf("%q: pattern %q", arguments[i].title, p); !used[key] {
				unused = append(unused, key)
			}
		}
	}
	return missing, unused
}

func (d *difference) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n", d.script.name, strings.Join(d.families, ", "))
	for i := range d.linux {
		fmt.Fprintf(&b, "    %s\n", d.linux[i].sent)
		if l, h := d.linux[i].said(), d.hushgate[i].said(); l == h {
			fmt.Fprintf(&b, "        both      %s\n", l)
		} else {
			fmt.Fprintf(&b, "        Linux     %s\n        hushgate  %s\n", l, h)
		}
	}
	return b.String()
}

// is reports whether the result of a script is that of the golden file; expected are the paragraphs of that file.
func (o *outcome) is(x *script, expected []string) bool {
	was := 0
	for _, e := range expected {
		if strings.HasPrefix(e, x.name+" (") {
			was++
		}
	}
	return was == len(o.differences) && !slices.ContainsFunc(o.differences, func(d *difference) bool {
		return !slices.Contains(expected, strings.TrimSuffix(d.text(), "\n"))
	})
}

// add adds the result of another run.
func (o *outcome) add(part *outcome) {
	o.scripts += part.scripts
	o.segments += part.segments
	o.differences = append(o.differences, part.differences...)
}

// text returns the golden file.
func (o *outcome) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux %s, %d scripts, %d differences\n", o.kernel, o.scripts, len(o.differences))
	for _, d := range o.differences {
		b.WriteString("\n" + d.text())
	}
	return b.String()
}

// expect compares a result with the file that was written before.
func expect(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile(file)
	must(t, err)
	if string(want) != got {
		t.Errorf("%s has changed (go test -update rewrites it):\n%s", file, changes(string(want), got))
	}
}

// sameKernel reports whether the golden file was written with this version of the kernel. Other versions give a few other
// answers.
func (o *outcome) sameKernel(t *testing.T) bool {
	t.Helper()
	golden, err := os.ReadFile(goldenFile)
	must(t, err)
	return strings.HasPrefix(string(golden), "Linux "+o.kernel+",")
}

// changes lists the lines that only one of two texts has.
func changes(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range w {
		if !slices.Contains(g, l) {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	if b.Len() == 0 {
		return "its order, or how often a line is there"
	}
	return b.String()
}
