package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Try finds out whether this machine knows the matches and targets that the plan needs, and changes nothing: it asks iptables
// whether such rules are there already. Lacking is nil, or why those rules could not be installed that look into the quotes of
// ICMP errors: the others would be (see Blind). The error is about the others, without which nothing would be.
func (f *Firewall) Try(ctx context.Context) (lacking, err error) {
	tried := map[string]bool{}
	for _, r := range f.plan {
		key := fmt.Sprint(r.V6, r.Table, r.Hook, r.extensions())
		if tried[key] {
			continue
		}
		tried[key] = true
		switch e := f.tools[r.V6].try(ctx, r); {
		case e == nil:
		case r.quotes:
			lacking = e
		default:
			return lacking, e
		}
	}
	return lacking, nil
}

// extensions are the matches and the target of a rule.
func (r Rule) extensions() (names []string) {
	for i, word := range r.Spec[:len(r.Spec)-1] {
		if word == "-m" || word == "-j" {
			names = append(names, r.Spec[i+1])
		}
	}
	return names
}

// noSuchRule is the exit status of iptables -C that is no error: the rule is not there.
const noSuchRule = 1

// try asks whether a rule is in its built-in chain. It is not; what counts is whether iptables and the kernel understand it.
func (t *tool) try(ctx context.Context, r Rule) error {
	_, err := run(ctx, t.name, slices.Concat([]string{"-w", "5", "-t", r.Table, "-C", r.Hook}, r.Spec)...)
	e := (*ProgramError)(nil)
	if errors.As(err, &e) && e.Status == noSuchRule && !strings.Contains(e.Text, "missing kernel module") {
		return nil
	}
	return err
}
