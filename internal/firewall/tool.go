package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-iptables/iptables"
)

// tool is iptables for one address family, in one variant. go-iptables changes the rules, and the -save program shows them.
type tool struct {
	name    string // iptables, ip6tables-legacy
	v6      bool
	version string // iptables v1.8.9 (nf_tables)
	path    string
	ipt     *iptables.IPTables
}

// names maps each family to the program, in the variant that the administrator has chosen.
var names = map[bool]string{false: "iptables", true: "ip6tables"}

// newTool finds the program and its -save program, which must be of the same variant.
func newTool(ctx context.Context, v6 bool, name string) (*tool, error) {
	t := &tool{name: name, v6: v6}
	for _, program := range []string{name, name + "-save"} {
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
	return t, t.open(ctx)
}

// open prepares go-iptables, which runs the program too.
func (t *tool) open(ctx context.Context) (err error) {
	if t.path, err = exec.LookPath(t.name); err != nil {
		return err
	}
	family := iptables.ProtocolIPv4
	if t.v6 {
		family = iptables.ProtocolIPv6
	}
	ns, err := here()
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	opened := make(chan *iptables.IPTables, 1)
	err = supervise(ctx, ns, t.path, func() error {
		ipt, err := iptables.New(iptables.IPFamily(family), iptables.Path(t.path))
		opened <- ipt
		return err
	})
	if err != nil {
		return fmt.Errorf("%s --version: %w", t.name, err)
	}
	t.ipt = <-opened
	return nil
}

func isNFT(version string) bool { return strings.Contains(version, "nf_tables") }

// nft reports whether the program keeps its rules in nftables rather than in the kernel's older tables.
func (t *tool) nft() bool { return isNFT(t.version) }

// tables lists the tables that can contain chains of ours.
var tables = []string{"raw", "mangle", "nat", "filter"}

// loaded reports whether the kernel has loaded a table. One of the older tables that is not loaded is left alone, because
// reading it would load it.
func (t *tool) loaded(table string) bool {
	if t.nft() {
		return true
	}
	file, module := "/proc/thread-self/net/ip_tables_names", "iptable_"
	if t.v6 {
		file, module = "/proc/thread-self/net/ip6_tables_names", "ip6table_"
	}
	names, err := os.ReadFile(file)       // if the file is missing, no table is loaded
	if errors.Is(err, fs.ErrPermission) { // only root may read it
		_, err = os.Stat("/sys/module/" + module + table)
		return err == nil
	}
	return slices.Contains(strings.Fields(string(names)), table)
}

// lockWait limits how long iptables-legacy waits for another one. It is shorter than the context, so that iptables can say
// what it waited for.
const lockWait = 10 * time.Second

// patient returns go-iptables with a wait for the lock that fits into the context.
func (t *tool) patient(ctx context.Context) *iptables.IPTables {
	wait := lockWait
	if end, bound := ctx.Deadline(); bound {
		wait = min(wait, time.Until(end)*3/4)
	}
	ipt := *t.ipt
	iptables.Timeout(max(1, int(wait.Seconds())))(&ipt)
	return &ipt
}

// ruleset holds the output of iptables-save: the rules of each chain, by table, in iptables' own spelling: -A FORWARD -j
// ACCEPT.
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

// policies returns the policies of the built-in chains of a table.
func policies(text string) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); strings.HasPrefix(line, ":") && len(words) > 1 {
			p[words[0][1:]] = words[1]
		}
	}
	return p
}

// saving is a read of a tool's rules that is under way.
type saving struct {
	t        *tool
	programs []*program
}

// save starts to read the rules. Of the older tables it reads those that are needed and those that are loaded.
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
		p, failed := start(ctx, t.name+"-save", args...)
		if failed != nil {
			err = failed
			break
		}
		s.programs = append(s.programs, p)
	}
	return s, err
}

// end waits for the result of save.
func (s saving) end() (rules ruleset, err error) {
	rules = ruleset{}
	for _, p := range s.programs {
		text, failed := p.wait()
		rules.parse(text)
		err = join(err, failed)
	}
	return rules, err
}

// look reads all rules of several tools at the same time.
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
