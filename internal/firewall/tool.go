package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tool is iptables for one address family, in one variant.
type tool struct {
	name    string // iptables, ip6tables-legacy
	v6      bool
	version string // iptables v1.8.9 (nf_tables)
}

// names are the programs by family, as the system's administrator has chosen their variant.
var names = map[bool]string{false: "iptables", true: "ip6tables"}

// newTool looks for the program and for its -save and -restore, which have to be of the same variant.
func newTool(ctx context.Context, v6 bool, name string) (*tool, error) {
	t := &tool{name: name, v6: v6}
	for _, program := range []string{name, name + "-save", name + "-restore"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, err
		}
		version, err := run(ctx, program, "--version")
		if err != nil {
			return nil, err
		}
		version = strings.TrimSpace(version)
		if t.version == "" {
			t.version = version
		}
		if isNFT(version) != isNFT(t.version) {
			return nil, fmt.Errorf("%s and %s are of different variants: %s, %s", name, program, t.version, version)
		}
	}
	return t, nil
}

func isNFT(version string) bool { return strings.Contains(version, "nf_tables") }

// nft is whether the program keeps its rules in nftables, and not in the kernel's older tables.
func (t *tool) nft() bool { return isNFT(t.version) }

// tables are those that chains of ours can be in.
var tables = []string{"raw", "mangle", "nat", "filter"}

// loaded is whether the kernel has a table. An older one that it has not is best left alone: to look is to load it.
func (t *tool) loaded(table string) bool {
	if t.nft() {
		return true
	}
	file, module := "/proc/thread-self/net/ip_tables_names", "iptable_"
	if t.v6 {
		file, module = "/proc/thread-self/net/ip6_tables_names", "ip6table_"
	}
	names, err := os.ReadFile(file)       // without the file there are none
	if errors.Is(err, fs.ErrPermission) { // only root may read it
		_, err = os.Stat("/sys/module/" + module + table)
		return err == nil
	}
	return slices.Contains(strings.Fields(string(names)), table)
}

// lockWait is how long iptables-legacy may wait for another one, at most: shorter than its context, so that it is able to
// say what it waited for.
const lockWait = 10 * time.Second

// waiting are the arguments by which a program waits for its lock.
func waiting(ctx context.Context) []string {
	wait := lockWait
	if end, bound := ctx.Deadline(); bound {
		wait = min(wait, time.Until(end)*3/4)
	}
	return []string{"-w", strconv.Itoa(max(1, int(wait.Seconds())))}
}

// ruleset is what iptables-save printed: the rules of each chain, by table, in iptables' own spelling: -A FORWARD -j ACCEPT.
type ruleset map[string]map[string][]string

// parse adds the output of iptables-save.
func (s ruleset) parse(text string) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch words := strings.Fields(line); {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
			if s[table] == nil {
				s[table] = map[string][]string{}
			}
		case strings.HasPrefix(line, ":"):
			s[table][words[0][1:]] = []string{}
		case strings.HasPrefix(line, "-A ") && len(words) > 1:
			s[table][words[1]] = append(s[table][words[1]], line)
		}
	}
}

// policies are what the built-in chains of a table do with what no rule decides on.
func policies(text string) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); strings.HasPrefix(line, ":") && len(words) > 1 {
			p[words[0][1:]] = words[1]
		}
	}
	return p
}

// saving is a look at a tool's rules that is under way.
type saving struct {
	t        *tool
	programs []*program
}

// save begins a look at the rules: of the older tables at those that are needed, and those that the kernel has.
func (t *tool) save(ctx context.Context, needed []string) (s saving, err error) {
	s.t = t
	commands := [][]string{nil}
	if !t.nft() {
		commands = nil
		for _, table := range tables {
			if slices.Contains(needed, table) || t.loaded(table) {
				commands = append(commands, []string{"-t", table})
			}
		}
	}
	for _, args := range commands {
		p, failed := start(ctx, "", t.name+"-save", args...)
		if failed != nil {
			err = failed
			break
		}
		s.programs = append(s.programs, p)
	}
	return s, err
}

// end waits for what save began.
func (s saving) end() (rules ruleset, err error) {
	rules = ruleset{}
	for _, p := range s.programs {
		text, failed := p.wait()
		rules.parse(text)
		err = join(err, failed)
	}
	return rules, err
}

// look reads all rules of some tools, all at the same time.
func look(ctx context.Context, list map[*tool][]string) (map[*tool]ruleset, error) {
	var begun []saving
	var errs []error
	for t, needed := range list {
		s, err := t.save(ctx, needed)
		begun, errs = append(begun, s), append(errs, err)
	}
	found := map[*tool]ruleset{}
	for _, s := range begun {
		rules, err := s.end()
		found[s.t] = rules
		errs = append(errs, err)
	}
	if err := join(errs...); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	return found, nil
}

// script is input of iptables-restore: the lines of each table.
type script map[string][]string

// text writes the script.
func (s script) text() string {
	var b strings.Builder
	for _, table := range tables {
		if len(s[table]) > 0 {
			b.WriteString("*" + table + "\n" + strings.Join(s[table], "\n") + "\nCOMMIT\n")
		}
	}
	return b.String()
}

// restore has some tools carry scripts out, all at the same time. A table changes whole or not at all.
func restore(ctx context.Context, scripts map[*tool]script) error {
	var errs []error
	var running []*restoring
	for t, s := range scripts {
		text := s.text()
		if text == "" {
			continue
		}
		p, err := start(ctx, text, t.name+"-restore", append(waiting(ctx), "--noflush")...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		running = append(running, &restoring{p, text})
	}
	for _, r := range running {
		errs = append(errs, r.end())
	}
	return join(errs...)
}

type restoring struct {
	*program
	text string
}

// end waits for the program's end. The error has the line that it is about, if there is one.
func (r *restoring) end() error {
	_, err := r.wait()
	e := (*ProgramError)(nil)
	if err == nil || !errors.As(err, &e) {
		return err
	}
	return &lineError{err, blamed(e.Text, r.text)}
}

// lineError is what iptables-restore did not take, and what of its input that is about if it said so.
type lineError struct {
	error
	about string // raw -A PREROUTING -j DROP
}

func (e *lineError) Error() string {
	if e.about == "" {
		return e.error.Error()
	}
	return fmt.Sprintf("install %s: %v", e.about, e.error)
}

func (e *lineError) Unwrap() error { return e.error }

// blamed is the line of a script that a message speaks of, behind its table: of a COMMIT the table alone. It is "" if the
// message speaks of none.
func blamed(message, text string) string {
	words := strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" :.,()", r) })
	at := slices.Index(words, "line")
	if at < 0 || at+1 == len(words) {
		return ""
	}
	n, err := strconv.Atoi(words[at+1])
	lines := strings.Split(text, "\n")
	if err != nil || n < 1 || n > len(lines) {
		return ""
	}
	table := ""
	for _, l := range lines[:n] {
		if strings.HasPrefix(l, "*") {
			table = l[1:]
		}
	}
	if lines[n-1] == "COMMIT" {
		return "the rules of the " + table + " table"
	}
	return table + " " + lines[n-1]
}
